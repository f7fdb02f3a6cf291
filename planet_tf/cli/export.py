"""Exports a policy as a SavedModel, with a planner of any size.

Training exports runs/NAME/policy by itself.
"""

import argparse

from planet_tf import errors, run_files, storage
from planet_tf.cli import flags as common

EXAMPLE = (
    "example: planet-tf export runs/cartpole_swingup-cpu robot/policy "
    "--gin_bindings=CEM.candidates=50"
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    parser.add_argument("root_dir", help="a run's directory, or an exported policy")
    parser.add_argument(
        "out", type=storage.expand, help="the SavedModel's directory; an old policy is replaced"
    )
    common.add_checkpoint(parser)
    common.add_gin(parser, files=False)
    parser.add_argument(
        "--jit_compile",
        action="store_true",
        help="exports the XLA-compiled variant: for a GPU, not for TF Serving or TF-Java",
    )


def run(flags: argparse.Namespace) -> None:
    """Exports."""
    from planet_tf import agents, training

    out = flags.out
    if out.exists() and not (out / "policy_specs.pbtxt").is_file():
        raise errors.ConfigError(f"{out} exists, and is not an exported policy")
    loaded = training.load_agent(flags.root_dir, flags.checkpoint, flags.gin_bindings)
    agent, identity = loaded
    settings = (storage.expand(flags.root_dir) / run_files.SETTINGS).read_text(encoding="utf-8")
    agents.export_policy(
        agent.policy,
        out,
        agent.train_step_counter,
        flags.jit_compile,
        trained_on=identity,
        settings="\n".join([settings, *flags.gin_bindings, ""]),
    )
    print(f"{out}: the policy of update {loaded.updates}")
