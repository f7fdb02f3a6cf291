"""Times an update, a decision, a frame, a batch and a cycle, relative to the matmul rate.

Each task has one environment in this process, whatever train.environments and train.collectors are.
"""

import argparse
import dataclasses
import json

from planet_tf import config, errors, runtime, storage
from planet_tf.cli import flags as common

EXAMPLE = "example: planet-tf bench --gin_file=walker.gin --gin_file=cpu.gin --cycle=150"
_STEP_SECONDS = 0.04
_JIT = {"on": True, "off": False, "auto": None}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags; without --gin_file: cheetah at the paper's size, and cpu.gin."""
    common.add_gin(parser)
    parser.add_argument("--device", choices=runtime.DEVICES, help="default: train.device")
    parser.add_argument(
        "--jit", choices=list(_JIT), default="auto", help="XLA; auto: see train.jit_compile"
    )
    parser.add_argument("--repeats", type=common.count, default=5, help="measurements per median")
    parser.add_argument(
        "--cycle",
        type=common.natural,
        default=0,
        metavar="UPDATES",
        help="also times a whole cycle of UPDATES updates and an episode (the algorithm's: 100)",
    )
    parser.add_argument(
        "--cluster",
        type=common.count,
        nargs="+",
        metavar="COLLECTORS",
        help="measures remote collectors instead, once per number, in a simulated task, and how "
        "many a run of the gin files could use",
    )
    parser.add_argument(
        "--step_seconds",
        type=common.amount,
        help="with --cluster: seconds per env step of the simulated task, which has 50 per episode "
        f"(default: {_STEP_SECONDS})",
    )
    common.add_json(parser)
    parser.add_argument(
        "--profile", type=storage.expand, metavar="DIR", help="writes a trace for TensorBoard"
    )


def run(flags: argparse.Namespace) -> None:
    """Measures and prints."""
    from planet_tf.machine import benchmark

    if not flags.cluster and flags.step_seconds is not None:
        raise errors.ConfigError("--step_seconds needs --cluster", setting="--step_seconds")
    if flags.cluster and (flags.cycle or flags.profile):
        raise errors.ConfigError(
            "--cluster measures neither --cycle nor --profile", "", "--cluster"
        )
    if flags.cluster:
        return _cluster(flags)
    configurations = {"paper": ["cheetah.gin"], "cpu": ["cheetah.gin", "cpu.gin"]}
    if flags.gin_file:
        configurations = {"given": flags.gin_file}
    _choose_device(flags, next(iter(configurations.values())))
    rate, parts = benchmark.run(
        configurations,
        flags.gin_bindings,
        _JIT[flags.jit],
        flags.repeats,
        flags.cycle,
        flags.profile and str(flags.profile),
    )
    print(f"float32 matmul: {rate / 1e9:.0f} GFLOP/s")
    print(benchmark.table(parts))
    if flags.json:
        figures = {"matmul_gflops": rate / 1e9, "parts": [dataclasses.asdict(p) for p in parts]}
        storage.write_text(flags.json, json.dumps(figures, indent=1) + "\n")


def _choose_device(flags: argparse.Namespace, files) -> None:
    from planet_tf.training import Settings

    config.configure(files, flags.gin_bindings)
    runtime.choose_device(flags.device or config.value_of(Settings, "device"))


def _cluster(flags: argparse.Namespace) -> None:
    """Measures remote collectors, and calculates what a run gains by them."""
    from planet_tf.machine import collection

    step = _STEP_SECONDS if flags.step_seconds is None else flags.step_seconds
    files = flags.gin_file or ["cheetah.gin", "cpu.gin"]
    _choose_device(flags, files)
    # First, as it checks the settings: the other takes minutes.
    costs = collection.costs(files, flags.gin_bindings, _JIT[flags.jit], flags.repeats)
    print(collection.forecast(costs))
    measured = list(collection.scaling(flags.cluster, step, flags.gin_bindings))
    print(collection.scaling_table(measured))
    if flags.json:
        figures = {
            "scaling": [dataclasses.asdict(each) for each in measured],
            "costs": dataclasses.asdict(costs),
        }
        storage.write_text(flags.json, json.dumps(figures, indent=1) + "\n")
