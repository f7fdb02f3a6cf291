"""Flags that several commands share, and the types of their values."""

import argparse
import pathlib

from planet_tf import errors, storage


class WholeNumber:
    """The type of a flag: a whole number of at least `least`."""

    def __init__(self, least: int):
        self._least = least

    def __call__(self, text: str) -> int:
        """Returns the number; raises ArgumentTypeError for anything else."""
        try:
            value = int(text)
        except ValueError:
            value = self._least - 1
        if value < self._least:
            raise argparse.ArgumentTypeError(
                f"must be a whole number of at least {self._least}, got {text!r}"
            )
        return value


def amount(text: str) -> float:
    """Returns a number of at least 0; raises ArgumentTypeError for anything else."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of at least 0, got {text!r}")
    return value


def frame_rate(text: str) -> float:
    """Returns frames per second, 0.1 to 100, the range of GIFs; else raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 100:
        raise argparse.ArgumentTypeError(f"must be a number from 0.1 to 100, got {text!r}")
    return value


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


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Adds --checkpoint."""
    parser.add_argument(
        "--checkpoint",
        type=WholeNumber(0),
        metavar="N",
        help="the run's checkpoint after N episodes (default: the newest)",
    )


def add_video_size(parser: argparse.ArgumentParser) -> None:
    """Adds --fps and --size."""
    from planet_tf.analysis import videos

    parser.add_argument(
        "--fps", type=frame_rate, default=15.0, help="frames per second of the video, 0.1 to 100"
    )
    parser.add_argument(
        "--size",
        type=WholeNumber(1),
        default=videos.SIZE,
        metavar="PIXELS",
        help="side of each image in the video, rounded down to an integer multiple",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds --json."""
    parser.add_argument(
        "--json", type=output_file, metavar="FILE", help="also writes the figures to FILE"
    )
