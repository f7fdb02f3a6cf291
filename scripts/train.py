"""Trains a PlaNet agent; the same command again resumes the run."""

import argparse
import sys

from planet_tf import quiet

quiet.libraries()

from planet_tf import config, evaluation, files, signals, training  # noqa: E402

FAULTS = (
    config.ConfigError,
    FloatingPointError,
    evaluation.EnvironmentFailure,
    files.StorageError,
)


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: python scripts/train.py --gin_file=gin/cartpole_swingup.gin "
        "--gin_file=gin/cpu.gin --gin_bindings='train.seed=1' --root_dir=runs/swingup-1",
    )
    parser.add_argument(
        "--gin_file",
        action="append",
        default=[],
        metavar="FILE",
        help="a gin file of settings, such as gin/cheetah.gin; may be repeated, later files win",
    )
    parser.add_argument(
        "--gin_bindings",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one setting, such as train.seed=1; may be repeated, wins over the files",
    )
    parser.add_argument(
        "--root_dir",
        metavar="DIR",
        help="the run's directory, resumed if it holds a run (default: runs/NAME, from the gin "
        "files' names)",
    )
    return parser.parse_args()


def main() -> int:
    """Parses the flags and trains; returns the exit status."""
    flags = _flags()
    try:
        config.parse(flags.gin_file, flags.gin_bindings)
        training.train(flags.root_dir or config.default_root_dir(flags.gin_file))
    except FAULTS as error:
        print(f"error: {config.message(error)}", file=sys.stderr)
        return 2 if isinstance(error, config.ConfigError) else 1
    except KeyboardInterrupt:
        print("interrupted: the same command resumes the run", file=sys.stderr)
        return 130
    except signals.Terminated:
        print("ended by SIGTERM: the same command resumes the run", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
