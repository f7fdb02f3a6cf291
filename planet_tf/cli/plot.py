"""Draws learning curves of runs, or of CSVs in results/: one panel per task, bands over seeds.

A run's variant is its directory's name without -seedN.
"""

import argparse
import pathlib
from collections.abc import Iterable, Sequence

from planet_tf import storage
from planet_tf.analysis import aggregation, figures, published, tables

EXAMPLE = "example: planet-tf plot runs/rssm-seed* runs/ssm-seed* --out=latent.png"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="RUN_OR_CSV",
        help="with --table also a score that `planet-tf evaluate RUN --json=FILE` wrote",
    )
    parser.add_argument(
        "--out",
        type=storage.expand,
        metavar="FIGURE.png",
        help="an SVG is written next to it (default: learning_curves.png, unless --csv or --table "
        "is given)",
    )
    parser.add_argument(
        "--csv",
        type=storage.expand,
        metavar="DIR",
        help="writes a CSV for each run's directory, with one row per evaluation",
    )
    parser.add_argument(
        "--table",
        action="store_true",
        help="prints results beside the paper's as a Markdown table; JSON scores after 100k or "
        "500k env steps beside other agents'",
    )
    parser.add_argument("--x", choices=list(figures.X_LABELS), default="env_steps")
    parser.add_argument(
        "--statistic",
        choices=list(aggregation.STATISTICS),
        default="mean",
        help="over seeds, if there are at least 3; iqm: the interquartile mean",
    )
    parser.add_argument("--title", default="")
    parser.add_argument(
        "--labels",
        type=_label,
        nargs="+",
        default=[],
        metavar="VARIANT=LABEL",
        help="names in the legend",
    )
    parser.add_argument(
        "--reference",
        nargs="?",
        const="paper",
        choices=["paper", "100k", "500k"],
        help="also draws published scores: the paper's after 1000 episodes (default), or those of "
        "PlaNet, Dreamer and CURL after 100k or 500k env steps",
    )


def _label(text: str) -> str:
    if "=" not in text:
        raise argparse.ArgumentTypeError(f"{text}: must be VARIANT=LABEL")
    return text


def _labels(texts: Sequence[str], variants: Iterable[str]) -> dict[str, str]:
    """Splits each VARIANT=LABEL after the longest variant that fits: those of sweeps hold '='."""
    longest = sorted(variants, key=len, reverse=True)
    found = {}
    for text in texts:
        fits = (variant for variant in longest if text.startswith(f"{variant}="))
        variant = next(fits, text.partition("=")[0])
        found[variant] = text[len(variant) + 1 :]
    return found


def run(flags: argparse.Namespace) -> None:
    """Reads, writes and draws."""
    files: list[pathlib.Path] = []
    scores = [path for path in flags.paths if path.endswith(".json")] if flags.table else []
    curves = [c for path in flags.paths if path not in scores for c in tables.read(path)]
    if flags.csv:
        files += tables.write_csvs(curves, flags.csv)
    if flags.table and curves:
        print(aggregation.table(curves))
    if scores:
        print(published.table(map(published.read, scores)))
    if flags.out or not (flags.csv or flags.table):
        files += figures.draw(
            curves,
            flags.out or "learning_curves.png",
            flags.x,
            flags.statistic,
            flags.title,
            _labels(flags.labels, {curve.variant for curve in curves}),
            published.references(flags.reference) if flags.reference else None,
        )
    for file in files:
        print(file)
