"""Trains a PlaNet agent; the same command resumes the run."""

import argparse

from planet_tf.cli import flags as common

EXAMPLE = (
    "example: planet-tf train --gin_file=cartpole_swingup.gin --gin_file=cpu.gin "
    "--gin_bindings='train.seed=1' --root_dir=runs/swingup-1"
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    common.add_gin(parser)
    parser.add_argument(
        "--root_dir",
        metavar="DIR",
        help="the run's directory; resumed if it holds a run (default: runs/NAME, from the gin "
        "files' names)",
    )
    parser.add_argument(
        "--address",
        help="the Ray cluster that train.collectors run on: auto, HOST:PORT or ray://HOST:PORT "
        "(default: this machine)",
    )


def run(flags: argparse.Namespace) -> None:
    """Trains."""
    from planet_tf import config, errors, training

    where = [f"RemoteCollectors.address = {flags.address!r}"] if flags.address else []
    config.parse(flags.gin_file, [*flags.gin_bindings, *where])
    if flags.address and not config.value_of(training.Settings, "collectors"):
        raise errors.ConfigError(
            "--address has no effect without remote collectors",
            "--gin_bindings=train.collectors=N starts N of them",
            "--address",
        )
    training.train(flags.root_dir or config.default_root_dir(flags.gin_file))
