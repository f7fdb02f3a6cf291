"""Says whether this machine is set up right, and how long a run would take on it.

Each line is ok, a note, or bad; in parentheses is the way out. The exit status is 1 if anything is
bad, and 2 if a setting cannot be used.
"""

import argparse
import pathlib
import sys

from planet_tf import quiet

quiet.libraries()

from planet_tf import doctor  # noqa: E402

_GIN = pathlib.Path(__file__).resolve().parents[1] / "gin"


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: python scripts/doctor.py --gin_file=gin/cartpole_swingup.gin "
        "--gin_file=gin/cpu.gin",
    )
    parser.add_argument(
        "--gin_file",
        action="append",
        metavar="FILE",
        help="a gin file of the run's settings, as for train.py; may be repeated; default: the "
        "paper's cheetah",
    )
    parser.add_argument(
        "--gin_bindings",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one setting, such as train.episodes=500; may be repeated, wins over the files",
    )
    parser.add_argument(
        "--root_dir",
        metavar="DIR",
        help="where the run would go, whose disk is looked at (default: as for train.py)",
    )
    parser.add_argument(
        "--device", help="cpu, gpu (an error without one) or auto; default: train.device's"
    )
    parser.add_argument(
        "--quick", action="store_true", help="leaves out the timings and the estimate of time"
    )
    return parser.parse_args()


def main() -> int:
    """Parses the flags and prints the report; returns the exit status."""
    flags = _flags()
    files = flags.gin_file or [str(_GIN / "cheetah.gin")]
    bad = False
    try:
        for finding in doctor.examine(
            files, flags.gin_bindings, flags.root_dir, flags.device, flags.quick
        ):
            print(finding, flush=True)
            bad = bad or finding.level == "bad"
    except ValueError as error:  # a ConfigError: its module needs packages that may be missing
        from planet_tf import config

        if not isinstance(error, config.ConfigError):
            raise
        print(f"error: {config.message(error)}", file=sys.stderr)
        return 2
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
