"""Trains tasks x settings x seeds, as many runs at a time as there are CPUs and GPUs.

The same command resumes it.
"""

import argparse
import sys

from planet_tf import errors, storage
from planet_tf.cli import flags as common

EXAMPLE = (
    "example: planet-tf sweep --task=cheetah.gin --task=walker.gin --gin_file=cpu.gin "
    "--grid='PlanetAgent.learning_rate=[1e-3, 3e-3]' --seeds=0:3 --root_dir=runs/rates"
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    parser.add_argument(
        "--task",
        action="append",
        default=[],
        metavar="FILE_OR_NAME",
        help="a task's gin file, such as cheetah.gin, or an environment's name, such as hopper_hop "
        "or gym:Pendulum-v1, which is trained with planet.gin; may be repeated",
    )
    common.add_gin(parser)
    parser.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="NAME=[VALUE, ...]",
        help="a setting and its values; may be repeated, all are combined",
    )
    parser.add_argument(
        "--seeds",
        default="0",
        help="of each, instead of train.seed: 0:5 (0 to 4) or 0,3,7 (default: 0)",
    )
    parser.add_argument(
        "--root_dir",
        type=storage.expand,
        default=storage.expand("runs/sweep"),
        metavar="DIR",
        help="holds a directory for each run; all machines must see it (default: runs/sweep)",
    )
    parser.add_argument(
        "--cpus", type=common.count, default=1, help="CPUs of each run (default: 1)"
    )
    parser.add_argument(
        "--gpus", type=common.amount, default=0.0, help="GPUs of each run, or a share, such as 0.25"
    )
    parser.add_argument(
        "--retries",
        type=common.natural,
        default=3,
        help="how often a run that fails is resumed from its checkpoint (default: 3)",
    )
    parser.add_argument(
        "--address",
        help="a Ray cluster: auto, HOST:PORT or ray://HOST:PORT (default: this machine alone)",
    )
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="prints the command of each run in a line of its own, such as for Slurm, and ends",
    )


def run(flags: argparse.Namespace) -> int:
    """Trains all runs, then writes CSVs, figure and table; returns 1 if a run failed."""
    from planet_tf.sweeps import cells

    if not flags.task:
        raise errors.ConfigError("no task", "name one, such as --task=cheetah.gin", "--task")
    found = cells.make(
        flags.task,
        flags.gin_file,
        flags.gin_bindings,
        [cells.parse_grid(text) for text in flags.grid],
        cells.parse_seeds(flags.seeds),
    )
    root = storage.tensorflow_path(flags.root_dir)
    episodes = cells.check(found, root, by_ray=not flags.dry_run)
    if flags.dry_run:
        for cell in found:
            print(cell.command(root))
        return 0

    from planet_tf.sweeps import progress, scheduler

    with progress.Display(root, episodes) as display:
        outcomes = scheduler.run(
            found,
            root,
            scheduler.Resources(flags.cpus, flags.gpus),
            flags.retries,
            flags.address,
            display.show,
            display.line,
        )
    done = [name for name in episodes if outcomes[name] == "done"]
    _summarize([root / name for name in done], root)
    return int(len(done) < len(episodes))


def _summarize(runs, root) -> None:
    """Writes a CSV per run and a figure, and prints the table."""
    from planet_tf.analysis import aggregation, figures, tables

    curves = [curve for path in runs for curve in tables.read(path)]
    if not curves:
        return
    print(aggregation.table(curves))
    files = tables.write_csvs(curves, root / "csv")
    try:
        files += figures.draw(curves, root / "learning_curves.png")
    except errors.ConfigError as error:  # matplotlib is not installed
        print(f"no figure: {error}", file=sys.stderr)
    for file in files:
        print(file)
