"""Return against planning time: measured planners as a CSV, a table and a figure."""

import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from planet_tf import storage
from planet_tf.analysis import canvas


class Row(NamedTuple):
    """One episode of one planner.

    Attributes:
      policy: path of the run or of the exported policy.
      task: the environment.
      updates: optimizer steps that its model was trained for.
      seed: decides the episodes.
      kind: the planner's class.
      planner: its name in tables.
      flags: gin bindings that set it, separated by '; '.
      evaluations: action sequences that a decision scores; '' if not known.
      horizon: agent steps.
      precision: of the model's layers.
      episode: its number, from 0; the same number is the same start for all planners.
      score: the return.
      ms: median time of a decision in milliseconds.
    """

    policy: str
    task: str
    updates: int
    seed: int
    kind: str
    planner: str
    flags: str
    evaluations: int | str
    horizon: int | str
    precision: str
    episode: int
    score: float
    ms: float


class Summary(NamedTuple):
    """All episodes of one planner.

    Attributes:
      row: one of them, for what they have in common.
      episodes: their number.
      mean: mean return.
      error: its standard error; NaN for one episode.
      ms: median time of a decision in milliseconds.
      best: whether no faster planner is at least as good.
    """

    row: Row
    episodes: int
    mean: float
    error: float
    ms: float
    best: bool


def summarize(rows: Iterable[Row]) -> list[Summary]:
    """Summarizes the episodes of each planner; the fastest comes first."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.flags, []).append(row)
    found = []
    for group in groups.values():
        scores, count = [row.score for row in group], len(group)
        error = float(np.std(scores, ddof=1)) / count**0.5 if count > 1 else float("nan")
        ms = float(np.median([row.ms for row in group]))
        found.append(Summary(group[0], count, float(np.mean(scores)), error, ms, best=False))
    found.sort(key=lambda summary: (summary.ms, -summary.mean))
    front, highest = [], -np.inf
    for summary in found:
        front.append(summary._replace(best=summary.mean > highest))
        highest = max(highest, summary.mean)
    return front


def table(summaries: Sequence[Summary]) -> str:
    """Returns a Markdown table; planners on the Pareto front are bold."""
    lines = [
        "| planner | evaluations | ms | return ± standard error | episodes | flags |",
        "|---|---|---|---|---|---|",
    ]
    for summary in summaries:
        row, mark = summary.row, "**" if summary.best else ""
        lines.append(
            f"| {mark}{row.planner}{mark} | {row.evaluations} | {summary.ms:.1f} | "
            f"{summary.mean:.1f} ± {summary.error:.1f} | {summary.episodes} | `{row.flags}` |"
        )
    return "\n".join(lines)


def draw(
    summaries: Sequence[Summary], path: str | os.PathLike, title: str = ""
) -> list[pathlib.Path]:
    """Draws return against the time of a decision, with standard errors and the Pareto front.

    Returns:
      the files: a PNG and an SVG.

    Raises:
      ConfigError: if matplotlib or the directory is missing.
      StorageError: if the figure cannot be written.
    """
    path = storage.expand(path)
    families: dict[str, list[Summary]] = {}
    for summary in summaries:
        families.setdefault(summary.row.kind, []).append(summary)
    with canvas.one_panel(path) as panel:
        from matplotlib import ticker

        for index, (family, group) in enumerate(families.items()):
            x, y = [each.ms for each in group], [each.mean for each in group]
            bars = np.nan_to_num([each.error for each in group])
            style = canvas.style(index) | {"linestyle": "", "markersize": 6}
            panel.errorbar(x, y, bars, label=family, elinewidth=1.1, capsize=2.5, **style)
        front = [each for each in summaries if each.best]
        panel.step(
            [each.ms for each in front],
            [each.mean for each in front],
            where="post",
            color="0.6",
            linewidth=1.2,
            zorder=0,
            label="Pareto front",
        )
        for each in front:
            name = each.row.planner.removeprefix(each.row.kind).strip()
            if "=" in name:  # a user's bindings
                name = f"{each.row.evaluations} evaluations"
            panel.annotate(
                name, (each.ms, each.mean), xytext=(4, 5), textcoords="offset points", fontsize=8
            )
        panel.set_xscale("log")
        panel.margins(x=0.1)
        panel.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter(ticker.ScalarFormatter())
        panel.xaxis.set_minor_locator(ticker.NullLocator())
        panel.set_xlabel("time of a decision in ms (median)")
        panel.set_ylabel("return per episode; bars: standard error")
        panel.set_title(title)
        panel.legend(frameon=False, loc="lower right")
    return [path, path.with_suffix(".svg")]
