"""Shows what a run's model imagines: pictures, a video and errors of an open-loop prediction."""

import argparse
import os
import pathlib
import sys

from planet_tf import quiet

quiet.libraries()

from PIL import Image  # noqa: E402

from planet_tf import config, curves, figures, files, imagination, replay, trained, videos  # noqa: E402


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: python scripts/imagine.py runs/cartpole_swingup-cpu --out=swingup; the "
        "model sees the first frames of an episode, the rest is predicted from the actions alone",
    )
    parser.add_argument("root_dir", help="the run's directory")
    parser.add_argument("--checkpoint", type=int, help="its number (default: the newest)")
    parser.add_argument(
        "--episode",
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
    parser.add_argument("--fps", type=float, default=15.0, help="frames a second of the video")
    parser.add_argument(
        "--size",
        type=int,
        default=videos.SIZE,
        metavar="PIXELS",
        help="side of each picture in the video, as far as whole times of its own go",
    )
    parser.add_argument(
        "--out",
        metavar="PREFIX",
        help="where PREFIX-strip.png, PREFIX-errors.png and PREFIX.gif go (default: "
        "ROOT_DIR/imagination)",
    )
    flags = parser.parse_args()
    if flags.context < 1 or flags.steps < 1 or flags.fps <= 0 or flags.size < 1:
        parser.error("--context and --steps must be at least 1, --fps and --size positive")
    return flags


def _newest(directory: pathlib.Path) -> pathlib.Path:
    found = sorted(directory.glob("*.npz"))
    if not found:
        raise config.ConfigError(f"{directory} has no episode; name one with --episode")
    return found[-1]


def _imagine(flags: argparse.Namespace) -> list[str]:
    root = pathlib.Path(flags.root_dir)
    prefix = flags.out or os.fspath(root / "imagination")
    written = [f"{prefix}-errors.png", f"{prefix}-errors.svg"]
    figures.check_path(written[0])
    if flags.out:
        videos.check_path(f"{prefix}.gif")
    run = trained.load_run(root, flags.checkpoint)
    model = run.agent.world_model
    path = pathlib.Path(flags.episode) if flags.episode else _newest(root / "episodes" / "heldout")
    with config.config_errors():
        episode = replay.read_episode(path, run.agent.training_data_spec)
    chunks = imagination.windows(episode, flags.context + flags.steps)
    prediction = model.predict(chunks, flags.context, imagination.SEED)
    found = imagination.errors(prediction, chunks["reward"])
    title = f"{run.tasks.names[0]}, update {run.updates}: open loop after {flags.context} steps"
    figures.draw_errors(
        {name: value.numpy() for name, value in found.items()},
        imagination.ERRORS,
        flags.context,
        written[0],
        title,
    )
    if model.reads == "image":
        whole = imagination.predict_episode(model, episode, flags.context)
        shown = {key: value[: flags.context + flags.steps] for key, value in whole.items()}
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
