"""Measures return against milliseconds: one trained model with planners of many kinds and sizes.

The same command continues where it stopped.
"""

import argparse
import os
import sys

from planet_tf import storage
from planet_tf.cli import flags as common

EXAMPLE = "example: planet-tf planners runs/cartpole_swingup-cpu --episodes=10 --out=swingup.png"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    parser.add_argument("path", help="a run's directory, or an exported policy (SavedModel)")
    parser.add_argument(
        "--episodes", type=common.count, default=5, help="per planner, the same for all"
    )
    parser.add_argument("--seed", type=common.natural, default=0, help="decides all episodes")
    parser.add_argument("--task", help="one of a run's tasks")
    common.add_checkpoint(parser)
    parser.add_argument(
        "--point",
        action="append",
        default=[],
        metavar="'NAME=VALUE; NAME=VALUE'",
        help="a planner to measure, as gin bindings, instead of the usual ones; may be repeated",
    )
    common.add_gin(parser, files=False)
    parser.add_argument(
        "--out",
        type=common.output_file,
        default=storage.expand("planners.png"),
        metavar="FIGURE.png",
        help="an SVG and a CSV with every episode are written next to it; episodes that the CSV "
        "holds are not repeated (default: planners.png)",
    )


def run(flags: argparse.Namespace) -> None:
    """Measures what the CSV lacks, then prints the table and draws the figure."""
    import tqdm

    from planet_tf.analysis import canvas, planners as tables, rows
    from planet_tf.comparisons import planners, points
    from planet_tf.training import loading

    canvas.check_path(flags.out)
    points.refuse_planners(flags.gin_bindings)
    path, out = os.path.normpath(storage.expand(flags.path)), flags.out.with_suffix(".csv")
    asked = [points.parse(text) for text in flags.point]
    found = rows.read(out, tables.Row, "planners")
    same = {"policy": path, "seed": flags.seed, **({"task": flags.task} if flags.task else {})}
    rows.check_same(out, found, **same)  # before a model is loaded
    subject = planners.subject(path, flags.checkpoint)
    rows.check_same(out, found, updates=subject.updates)
    asked = asked or planners.default_points(subject.horizon, subject.discrete)
    asked = [point._replace(bindings=(*flags.gin_bindings, *point.bindings)) for point in asked]
    for point in asked:
        loading.check_bindings(path, point.bindings)
    done = {(row.flags, row.episode) for row in found}
    left = {
        point: [n for n in range(flags.episodes) if (point.flags, n) not in done] for point in asked
    }
    with tqdm.tqdm(total=sum(map(len, left.values())), unit="episode", disable=None) as bar:
        for point, numbers in left.items():
            if not numbers:
                continue
            bar.set_postfix_str(point.name)
            for row in planners.measure(
                path,
                point,
                numbers,
                flags.seed,
                flags.task,
                flags.checkpoint,
                report=lambda line: tqdm.tqdm.write(line, file=sys.stderr),
            ):
                rows.check_same(out, found, updates=row.updates, task=row.task)
                rows.append(out, row)
                found.append(row)
                bar.update()
    summaries = tables.summarize(found)
    print(tables.table(summaries))
    for file in [out, *tables.draw(summaries, flags.out, path)]:
        print(file)
