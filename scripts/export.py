"""Exports a run's policy as a SavedModel: at any checkpoint, with a planner of another size."""

import argparse
import sys

from planet_tf import quiet

quiet.libraries()

from planet_tf import config, export, files, paths, trained  # noqa: E402


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: python scripts/export.py runs/cartpole_swingup-cpu robot/policy "
        "--gin_bindings=cem.candidates=50; the run itself exports runs/NAME/policy as it trains",
    )
    parser.add_argument("root_dir", help="the run's directory")
    parser.add_argument(
        "out", type=paths.expanded, help="the SavedModel's; an exported policy there is replaced"
    )
    parser.add_argument("--checkpoint", type=int, help="its number (default: the newest)")
    parser.add_argument(
        "--gin_bindings",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting other than the run's, such as cem.horizon=24; may be repeated",
    )
    parser.add_argument(
        "--jit_compile",
        action="store_true",
        help="exports the XLA-compiled variant: for a GPU, not for TF Serving or TF-Java",
    )
    return parser.parse_args()


def _export(flags: argparse.Namespace) -> None:
    out = flags.out
    if out.exists() and not (out / "policy_specs.pbtxt").is_file():
        raise config.ConfigError(f"{out} is there, and is no exported policy: name another place")
    run = trained.load_run(flags.root_dir, flags.checkpoint, flags.gin_bindings)
    step, identity = run.agent.train_step_counter, run.identity()
    export.export_policy(run.agent.policy, out, step, flags.jit_compile, identity)
    print(f"{out}: the policy of update {run.updates}")


def main() -> int:
    """Parses the flags and exports; returns the exit status."""
    flags = _flags()
    try:
        _export(flags)
    except (config.ConfigError, files.StorageError) as error:
        print(f"error: {config.message(error)}", file=sys.stderr)
        return 2 if isinstance(error, config.ConfigError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
