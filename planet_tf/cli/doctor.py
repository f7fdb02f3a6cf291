"""Checks whether this machine is set up correctly, and estimates what a run needs.

Each line is ok, a note, or bad, with a hint in parentheses. The exit status is 1 if anything is
bad, and 2 if a setting cannot be used.
"""

import argparse

from planet_tf import runtime
from planet_tf.cli import flags as common

EXAMPLE = "example: planet-tf doctor --gin_file=cartpole_swingup.gin --gin_file=cpu.gin"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags; without --gin_file: the paper's cheetah."""
    common.add_gin(parser)
    parser.add_argument(
        "--root_dir",
        metavar="DIR",
        help="where the run would go; its disk is checked (default: as for train)",
    )
    parser.add_argument(
        "--device",
        choices=runtime.DEVICES,
        help="gpu: an error without one (default: train.device)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="skips the timings and the estimate of time"
    )


def run(flags: argparse.Namespace) -> int:
    """Prints the report; returns 1 if anything is bad."""
    from planet_tf.machine import doctor

    bad = False
    for finding in doctor.examine(
        flags.gin_file or ["cheetah.gin"],
        flags.gin_bindings,
        flags.root_dir,
        flags.device,
        flags.quick,
    ):
        print(finding, flush=True)
        bad = bad or finding.level == "bad"
    return int(bad)
