"""Flags that several commands share, and the types of their values."""

import argparse
import contextlib
import pathlib
from collections.abc import Callable

from planet_tf import errors, storage
from planet_tf.ranges import Number, Whole


def value(rule: Whole | Number) -> Callable[[str], float]:
    """Returns the type of a flag: the numbers that a rule accepts."""
    convert = int if isinstance(rule, Whole) else float

    def parse(text: str) -> float:
        with contextlib.suppress(ValueError):
            if rule.accepts(found := convert(text)):
                return found
        raise argparse.ArgumentTypeError(f"must be {rule}, got {text!r}")

    return parse


natural = value(Whole(0))
count = value(Whole(1))
amount = value(Number(0))
frame_rate = value(Number(0.1, 100))  # the range of GIFs


def output_file(text: str) -> pathlib.Path:
    """Returns the path of a file to write; raises ArgumentTypeError if its folder is missing."""
    try:
        storage.check_parent(text)
    except errors.ConfigError as error:
        raise argparse.ArgumentTypeError(f"{error.message}; {error.hint}") from error
    return storage.expand(text)


def add_gin(parser: argparse.ArgumentParser, files: bool = True) -> None:
    """Adds --gin_file (unless files is False) and --gin_bindings."""
    if files:
        parser.add_argument(
            "--gin_file",
            action="append",
            default=[],
            metavar="FILE",
            help="a gin file of settings, such as gin/cheetah.gin, or a preset's name, such as "
            "cheetah.gin; may be repeated, later files win",
        )
    parser.add_argument(
        "--gin_bindings",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one setting, such as train.seed=1; may be repeated, wins over files",
    )


def checkpoint(text: str) -> int | str:
    """Returns a number of episodes, or 'best'; raises ArgumentTypeError for anything else."""
    if text == "best":
        return text
    try:
        return int(natural(text))
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error} (or 'best')") from error


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Adds --checkpoint."""
    parser.add_argument(
        "--checkpoint",
        type=checkpoint,
        metavar="N",
        help="the run's checkpoint after N episodes, or 'best': that of its best evaluation "
        "(default: the newest)",
    )


def add_video_size(parser: argparse.ArgumentParser) -> None:
    """Adds --fps and --size."""
    from planet_tf.analysis import videos

    parser.add_argument(
        "--fps", type=frame_rate, default=15.0, help="frames per second of the video, 0.1 to 100"
    )
    parser.add_argument(
        "--size",
        type=count,
        default=videos.SIZE,
        metavar="PIXELS",
        help="side of each image in the video, rounded down to an integer multiple",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds --json."""
    parser.add_argument(
        "--json", type=output_file, metavar="FILE", help="also writes the figures to FILE"
    )
