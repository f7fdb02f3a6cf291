"""Measures return against milliseconds: one trained model with planners of many kinds and sizes."""

import argparse
import os
import sys

from planet_tf import errors, storage
from planet_tf.cli import flags as common

EXAMPLE = (
    "example: planet-tf planners runs/cartpole_swingup-cpu --episodes=10 --out=swingup.png; the "
    "same command continues where it stopped"
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    parser.add_argument("path", help="a run's directory, or an exported policy (SavedModel)")
    parser.add_argument(
        "--episodes", type=common.WholeNumber(1), default=5, help="per planner, the same for all"
    )
    parser.add_argument(
        "--seed", type=common.WholeNumber(0), default=0, help="decides all episodes"
    )
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

    from planet_tf.analysis import canvas, dial
    from planet_tf.machine import planners
    from planet_tf.training import loading

    canvas.check_path(flags.out)
    path, out = os.path.normpath(storage.expand(flags.path)), flags.out.with_suffix(".csv")
    points = [planners.custom_point(text) for text in flags.point]
    rows, subject = dial.read(out), planners.subject(path, flags.checkpoint)
    _check_same(out, rows, policy=path, updates=subject.updates, seed=flags.seed)
    points = points or planners.default_points(subject.horizon)
    points = [point._replace(bindings=(*flags.gin_bindings, *point.bindings)) for point in points]
    for point in points:
        loading.check_bindings(path, point.bindings)
    done = {(row.flags, row.episode) for row in rows}
    left = {
        point: [n for n in range(flags.episodes) if (point.flags, n) not in done]
        for point in points
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
                _check_same(out, rows, updates=row.updates, task=row.task)
                dial.append(out, row)
                rows.append(row)
                bar.update()
    found = dial.summarize(rows)
    print(dial.table(found))
    for file in [out, *dial.draw(found, flags.out, path)]:
        print(file)


def _check_same(out, rows, **values) -> None:
    """Raises ConfigError if the CSV holds episodes of another model, task or other starts."""
    for name, value in values.items():
        if rows and getattr(rows[0], name) != value:
            raise errors.ConfigError(
                f"{out} holds episodes of {name} {getattr(rows[0], name)}, not {value}",
                "name another file with --out",
            )
