"""Times an update, a decision, a frame, a batch and the whole cycle, as ratios of one run."""

import argparse
import dataclasses
import json
import pathlib
import sys

from planet_tf import quiet

quiet.libraries()

from planet_tf import benchmark, config, devices, paths  # noqa: E402

_GIN = pathlib.Path(__file__).resolve().parents[1] / "gin"
_JIT = {"on": True, "off": False, "auto": None}


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--gin_file",
        action="append",
        metavar="FILE",
        help="a gin file of settings, may be repeated; default: cheetah at the paper's size, then "
        "with gin/cpu.gin",
    )
    parser.add_argument(
        "--gin_bindings",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting on top, such as \"WorldModel.precision='mixed_bfloat16'\"; may be repeated",
    )
    parser.add_argument("--device", choices=devices.DEVICES, default="auto")
    parser.add_argument("--jit", choices=list(_JIT), default="auto", help="XLA; auto: on a GPU")
    parser.add_argument("--repeats", type=int, default=5, help="measurements a median is taken of")
    parser.add_argument(
        "--cycle",
        type=int,
        default=0,
        metavar="UPDATES",
        help="also time a whole cycle of so many updates and an episode (the algorithm's: 100)",
    )
    parser.add_argument(
        "--json", type=paths.expanded, metavar="FILE", help="writes the figures there too"
    )
    parser.add_argument(
        "--profile",
        type=paths.expanded,
        metavar="DIR",
        help="writes a trace for TensorBoard there",
    )
    flags = parser.parse_args()
    if flags.repeats < 1 or flags.cycle < 0:
        parser.error("--repeats must be at least 1, --cycle at least 0")
    if flags.json and not flags.json.resolve().parent.is_dir():
        parser.error(f"--json={flags.json}: no such directory; make it first")
    return flags


def main() -> int:
    """Parses the flags, measures and prints; returns the exit status."""
    flags = _flags()
    task = str(_GIN / "cheetah.gin")
    configurations = {"paper": [task], "cpu": [task, str(_GIN / "cpu.gin")]}
    if flags.gin_file:
        configurations = {"given": flags.gin_file}
    try:
        devices.choose(flags.device)
        rate, parts = benchmark.run(
            configurations,
            flags.gin_bindings,
            _JIT[flags.jit],
            flags.repeats,
            flags.cycle,
            flags.profile and str(flags.profile),
        )
    except config.ConfigError as error:
        print(f"error: {config.message(error)}", file=sys.stderr)
        return 2
    print(f"float32 matmul: {rate / 1e9:.0f} GFLOP/s")
    print(benchmark.table(parts))
    if flags.json:
        figures = {"matmul_gflops": rate / 1e9, "parts": [dataclasses.asdict(p) for p in parts]}
        flags.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
