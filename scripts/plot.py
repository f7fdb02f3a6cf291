"""Draws learning curves of runs, or of CSVs in results/: a panel a task, a band over seeds."""

import argparse
import pathlib
import sys

from planet_tf import aggregation, curves, figures


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: python scripts/plot.py runs/rssm-seed* runs/ssm-seed* --out=latent.png; "
        "a run's variant is its directory's name without -seedN",
    )
    parser.add_argument("paths", nargs="+", metavar="RUN_OR_CSV")
    parser.add_argument(
        "--out",
        metavar="FIGURE.png",
        help="an SVG is written beside it (default: learning_curves.png, unless there is --csv or "
        "--table)",
    )
    parser.add_argument(
        "--csv",
        metavar="DIR",
        help="writes a CSV there of each run's directory, a row an evaluation",
    )
    parser.add_argument(
        "--table",
        action="store_true",
        help="prints how far the runs have come, beside the paper's scores, as a Markdown table",
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
        "--labels", nargs="+", default=[], metavar="VARIANT=LABEL", help="names in the legend"
    )
    parser.add_argument(
        "--reference", action="store_true", help="also draws the paper's scores after 1000 episodes"
    )
    flags = parser.parse_args()
    for label in flags.labels:
        if "=" not in label:
            parser.error(f"--labels {label}: must be VARIANT=LABEL")
    return flags


def main() -> int:
    """Parses the flags, reads, writes and draws; returns the exit status."""
    flags = _flags()
    files: list[pathlib.Path] = []
    try:
        read = [curve for path in flags.paths for curve in curves.read(path)]
        if flags.csv:
            files += curves.write_csvs(read, flags.csv)
        if flags.table:
            print(aggregation.table(read))
        if flags.out or not (flags.csv or flags.table):
            files += figures.draw(
                read,
                flags.out or "learning_curves.png",
                flags.x,
                flags.statistic,
                flags.title,
                dict(label.split("=", 1) for label in flags.labels),
                flags.reference,
            )
    except curves.CurveError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for file in files:
        print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
