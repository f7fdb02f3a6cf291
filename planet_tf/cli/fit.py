"""Fits models with other settings to a run's episodes, and measures how far ahead they predict.

It takes minutes where a run takes hours: a quick way to see what a task needs. The same command
continues where it stopped.
"""

import argparse
import sys

from planet_tf import storage
from planet_tf.cli import flags as common
from planet_tf.ranges import Whole

EXAMPLE = "example: planet-tf fit runs/reacher-cpu --point='WorldModel.free_nats = 1' --seeds=2"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    parser.add_argument("root_dir", type=storage.expand, help="the run's directory")
    parser.add_argument(
        "--point",
        action="append",
        default=[],
        metavar="'NAME=VALUE; NAME=VALUE'",
        help="settings to fit with, as gin bindings, next to the run's own; may be repeated",
    )
    parser.add_argument(
        "--episodes",
        type=common.value(Whole(5)),
        metavar="N",
        help="the run's first N: one of five is predicted, the others are fitted (default: all)",
    )
    parser.add_argument(
        "--updates", type=common.count, default=2500, help="optimizer steps per fit"
    )
    parser.add_argument("--seeds", type=common.count, default=1, help="fits per point")
    parser.add_argument("--seed", type=common.natural, default=0, help="the first one")
    parser.add_argument(
        "--out",
        type=common.output_file,
        default=storage.expand("fits.csv"),
        metavar="FILE.csv",
        help="one line per fit; fits that it holds are not repeated (default: fits.csv)",
    )


def run(flags: argparse.Namespace) -> None:
    """Fits what the CSV lacks, then prints the table."""
    import tqdm

    from planet_tf.analysis import fits as tables, rows
    from planet_tf.comparisons import fits, points

    asked = [points.Point("the run's", ()), *map(points.parse, flags.point)]
    for point in asked:
        fits.check(flags.root_dir, point)
    found = rows.read(flags.out, tables.Row, "fits")
    files = fits.episode_files(flags.root_dir, flags.episodes)
    same = {"run": str(flags.root_dir), "updates": flags.updates, "episodes": len(files)}
    rows.check_same(flags.out, found, **same)
    done = {(row.flags, row.seed) for row in found}
    seeds = range(flags.seed, flags.seed + flags.seeds)
    left = [(p, seed) for seed in seeds for p in asked if (p.flags, seed) not in done]
    with tqdm.tqdm(total=len(left) * flags.updates, unit="update", disable=None) as bar:
        for number, (point, seed) in enumerate(left):
            bar.set_postfix_str(f"seed {seed}, {point.name}")

            def progress(done: int, before: int = number * flags.updates) -> None:
                bar.update(before + done - bar.n)

            row = fits.measure(flags.root_dir, files, point, flags.updates, seed, progress)
            rows.append(flags.out, row)
            found.append(row)
            tqdm.tqdm.write(tables.table([row]).splitlines()[-1], file=sys.stderr)
    print(tables.table(found))
    print(flags.out)
