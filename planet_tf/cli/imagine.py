"""Shows what a run's model predicts: images, a video and errors of an open-loop prediction.

The model sees the first frames of an episode; the rest is predicted from the actions alone.
"""

import argparse
import pathlib
import sys

from planet_tf import errors, run_files, storage
from planet_tf.cli import flags as common

EXAMPLE = "example: planet-tf imagine runs/cartpole_swingup-cpu --out=swingup"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    parser.add_argument("root_dir", type=storage.expand, help="the run's directory")
    common.add_checkpoint(parser)
    parser.add_argument(
        "--episode",
        type=storage.expand,
        metavar="FILE.npz",
        help="from the run's episodes/ (default: the newest held-out one)",
    )
    parser.add_argument("--context", type=common.count, default=5, help="frames seen")
    parser.add_argument(
        "--steps",
        type=common.count,
        default=45,
        help="steps predicted in strip and errors; in the video: all",
    )
    common.add_video_size(parser)
    parser.add_argument(
        "--out",
        type=common.output_file,
        metavar="PREFIX",
        help="writes PREFIX-strip.png, PREFIX-errors.png and PREFIX.gif (default: "
        "ROOT_DIR/imagination)",
    )


def run(flags: argparse.Namespace) -> None:
    """Predicts and draws."""
    from planet_tf import training
    from planet_tf.analysis import canvas
    from planet_tf.experience import episode as episodes

    prefix = flags.out or flags.root_dir / "imagination"
    canvas.check_path(f"{prefix}-errors.png")
    loaded = training.load_agent(flags.root_dir, flags.checkpoint)
    path = flags.episode or _newest(flags.root_dir / run_files.HELDOUT_EPISODES)
    episode = episodes.read(path, loaded.agent.training_data_spec)
    frames = len(episode["reward"])  # at least 2
    length, context = min(flags.context + flags.steps, frames), min(flags.context, frames - 1)
    if length < flags.context + flags.steps:
        print(
            f"{path.name} has {frames} frames: {context} are seen, {length - context} predicted",
            file=sys.stderr,
        )
    written = _draw_errors(loaded, episode, context, length, prefix, path, flags.root_dir)
    written += _draw_images(loaded, episode, context, length, prefix, flags)
    print("\n".join(map(str, written)))


def _newest(directory: pathlib.Path) -> pathlib.Path:
    found = sorted(directory.glob("*.npz"))
    if not found:
        raise errors.ConfigError(f"{directory} has no episode", "name one with --episode")
    return found[-1]


def _draw_errors(
    loaded, episode, context: int, length: int, prefix, path, root
) -> list[pathlib.Path]:
    from planet_tf.analysis import figures, predictions
    from planet_tf.models import open_loop

    chunks = predictions.windows(episode, length)
    model = loaded.agent.world_model
    prediction = open_loop.predict(model, chunks, context, open_loop.SEED)
    found = open_loop.measure(prediction, chunks["reward"])
    task = loaded.identity["task"]
    # An episode's file does not say which of several tasks it is from.
    what = f"{root.absolute().name}, {path.stem}" if isinstance(task, list) else task
    return figures.draw_errors(
        {name: value.numpy() for name, value in found.items()},
        predictions.LABELS,
        context,
        f"{prefix}-errors.png",
        f"{what}, update {loaded.updates}: open loop after {context} steps",
    )


def _draw_images(loaded, episode, context: int, length: int, prefix, flags) -> list[pathlib.Path]:
    from PIL import Image

    from planet_tf.analysis import pictures, predictions, videos

    model = loaded.agent.world_model
    if model.reads != "image":
        print("the model reads states: there are no images of its predictions", file=sys.stderr)
        return []
    whole = predictions.predict_episode(model, episode, context)
    written = [pathlib.Path(f"{prefix}-strip.png"), pathlib.Path(f"{prefix}.gif")]
    strip = pictures.strip({key: value[:length] for key, value in whole.items()})
    with storage.atomic_file(written[0]) as file:
        Image.fromarray(strip).save(file, "PNG")
    videos.write(written[1], pictures.difference_video(whole, flags.size), flags.fps)
    return written
