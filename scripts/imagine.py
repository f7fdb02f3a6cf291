"""Shows what a run's model imagines: pictures, a video and errors of an open-loop prediction."""

import argparse
import pathlib
import sys

from planet_tf import quiet

quiet.libraries()

from PIL import Image  # noqa: E402

from planet_tf import (  # noqa: E402
    config,
    curves,
    figures,
    files,
    imagination,
    paths,
    replay,
    trained,
    videos,
)


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: python scripts/imagine.py runs/cartpole_swingup-cpu --out=swingup; the "
        "model sees the first frames of an episode, the rest is predicted from the actions alone",
    )
    parser.add_argument("root_dir", type=paths.expanded, help="the run's directory")
    parser.add_argument("--checkpoint", type=int, help="its number (default: the newest)")
    parser.add_argument(
        "--episode",
        type=paths.expanded,
        metavar="FILE.npz",
        help="of the run's episodes/ (default: the newest held-out one)",
    )
    parser.add_argument("--context", type=int, default=imagination.CONTEXT, help="frames seen")
    parser.add_argument(
        "--steps",
        type=int,
        default=45,
        help="steps predicted in strip and errors; in the video: all",
    )
    parser.add_argument(
        "--fps", type=videos.fps, default=15.0, help="frames per second, 0.1 to 100"
    )
    parser.add_argument(
        "--size",
        type=int,
        default=videos.SIZE,
        metavar="PIXELS",
        help="side of each picture in the video, as far as whole times of its own go",
    )
    parser.add_argument(
        "--out",
        type=paths.expanded,
        metavar="PREFIX",
        help="where PREFIX-strip.png, PREFIX-errors.png and PREFIX.gif go (default: "
        "ROOT_DIR/imagination)",
    )
    flags = parser.parse_args()
    if flags.context < 1 or flags.steps < 1 or flags.size < 1:
        parser.error("--context and --steps must be at least 1, --size positive")
    return flags


def _newest(directory: pathlib.Path) -> pathlib.Path:
    found = sorted(directory.glob("*.npz"))
    if not found:
        raise config.ConfigError(f"{directory} has no episode; name one with --episode")
    return found[-1]


def _imagine(flags: argparse.Namespace) -> list[str]:
    root = flags.root_dir
    prefix = flags.out or root / "imagination"
    written = [f"{prefix}-errors.png", f"{prefix}-errors.svg"]
    figures.check_path(written[0])
    if flags.out:
        videos.check_path(f"{prefix}.gif")
    run = trained.load_run(root, flags.checkpoint)
    model = run.agent.world_model
    path = flags.episode or _newest(root / "episodes" / "heldout")
    with config.config_errors():
        episode = replay.read_episode(path, run.agent.training_data_spec)
    frames = len(episode["reward"])  # at least 2
    length, context = min(flags.context + flags.steps, frames), min(flags.context, frames - 1)
    if length < flags.context + flags.steps:
        print(
            f"{path.name} has {frames} frames: {context} are seen, {length - context} predicted",
            file=sys.stderr,
        )
    chunks = imagination.windows(episode, length)
    prediction = model.predict(chunks, context, imagination.SEED)
    found = imagination.errors(prediction, chunks["reward"])
    # Of several tasks the episode's file does not say which one it is of.
    what = f"{root.name}, {path.stem}" if run.tasks.several else run.tasks.names[0]
    title = f"{what}, update {run.updates}: open loop after {context} steps"
    figures.draw_errors(
        {name: value.numpy() for name, value in found.items()},
        imagination.ERRORS,
        context,
        written[0],
        title,
    )
    if model.reads == "image":
        whole = imagination.predict_episode(model, episode, context)
        shown = {key: value[:length] for key, value in whole.items()}
        with files.written_whole(f"{prefix}-strip.png") as out:
            Image.fromarray(imagination.strip(shown)).save(out, "PNG")
        film = imagination.difference_film(whole, flags.size)
        videos.write(f"{prefix}.gif", film, flags.fps)
        written += [f"{prefix}-strip.png", f"{prefix}.gif"]
    else:
        print("the model reads the state: there is no picture of what it predicts")
    return written


def main() -> int:
    """Parses the flags, predicts and draws; returns the exit status."""
    flags = _flags()
    try:
        written = _imagine(flags)
    except (config.ConfigError, curves.CurveError, files.StorageError) as error:
        print(f"error: {config.message(error)}", file=sys.stderr)
        return 1 if isinstance(error, files.StorageError) else 2
    print("\n".join(written))
    return 0


if __name__ == "__main__":
    sys.exit(main())
