"""Draws learning curves and prediction errors with matplotlib (the `view` extra)."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from planet_tf import errors
from planet_tf.analysis import aggregation, canvas
from planet_tf.analysis.curves import Curve

if TYPE_CHECKING:
    from matplotlib.artist import Artist

X_LABELS = {
    "env_steps": "env steps (simulator steps)",
    "episodes": "collected episodes",
    "minutes": "wall-clock minutes",
}
"""The choices of the x axis, and its labels."""

MIN_SEEDS = 3
"""With fewer seeds there is no band: each seed is drawn."""

References = Mapping[str, Mapping[str, float]]
"""Scores of others: by method, then by task."""

_DASHES = ("--", ":", "-.")  # of their lines


def draw(
    curves: Sequence[Curve],
    path: str | os.PathLike,
    x: str = "env_steps",
    statistic: str = "mean",
    title: str = "",
    labels: Mapping[str, str] | None = None,
    reference: References | None = None,
) -> list[pathlib.Path]:
    """Draws one panel per task and one line per variant, with a band over its seeds.

    With fewer than `MIN_SEEDS` seeds each is drawn; a single run is drawn with the spread of each
    evaluation's episodes and with the episodes that it collected.

    Args:
      curves: of any tasks, variants and seeds; colours follow their order.
      path: of the PNG; an SVG is written next to it.
      x: a name in `X_LABELS`.
      statistic: a name in `aggregation.STATISTICS`.
      title: of the figure; default: each panel's task.
      labels: names of variants in the legend; default: the variant's own.
      reference: scores of others by method and task, drawn as lines where the curves reach at least
        half of them.

    Returns:
      the files.

    Raises:
      ConfigError: if the curves cannot be drawn, or matplotlib or the directory is missing.
      StorageError: if the figure cannot be written.
    """
    if not curves:
        raise errors.ConfigError(f"{path}: nothing to draw", "name a run's directory or a CSV")
    path = canvas.check_path(path)
    import matplotlib as mpl
    from matplotlib import figure as mpl_figure, ticker

    if len({curve.task for curve in curves}) > 1:  # cheetah_run-cpu and walker_walk-cpu are one
        curves = [
            dataclasses.replace(curve, variant=curve.variant.removeprefix(f"{curve.task}-"))
            for curve in curves
        ]
    groups = aggregation.by_task_and_variant(curves)
    variants = list(dict.fromkeys(curve.variant for curve in curves))
    names = _names(variants, labels or {})
    columns = min(len(groups), 3)
    rows = -(-len(groups) // columns)
    height = {1: 3.9, 2: 3.1, 3: 2.9}[columns]
    with mpl.rc_context(canvas.LETTERS):
        figure = mpl_figure.Figure((canvas.WIDTH, rows * height + 0.4), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        handles: dict[str, Artist] = {}
        for panel, (task, group) in zip(panels, groups.items(), strict=False):
            for variant, seeds in group.items():
                style = canvas.style(variants.index(variant))
                label = f"{names[variant]} ({_seeds(groups, variant)})"
                if len(curves) == 1:
                    handles |= _draw_run(panel, seeds[0], x, style, label)
                else:
                    handles[label] = _draw_seeds(panel, seeds, x, statistic, style)
            handles |= _draw_references(panel, reference or {}, task, alone=len(groups) == 1)
            _finish_panel(panel, x, title if title and len(groups) == 1 else task)
            panel.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))  # 200k
        for panel in panels[len(groups) :]:
            panel.set_visible(False)
        if len(groups) > 1 and title:
            figure.suptitle(title)
        for panel in panels[::columns]:
            panel.set_ylabel("evaluation return per episode")
        banded = any(
            len(seeds) >= MIN_SEEDS for group in groups.values() for seeds in group.values()
        )
        figure.legend(
            handles.values(),
            handles.keys(),
            loc="outside lower center",
            ncols=3 if len(handles) > 4 else 2,
            frameon=False,
            title=_band_words(statistic) if banded else None,
            title_fontsize=canvas.LETTERS["legend.fontsize"],
        )
        return canvas.save(figure, path)


def draw_errors(
    errors: Mapping[str, np.ndarray],
    labels: Mapping[str, str],
    context: int,
    path: str | os.PathLike,
    title: str,
) -> list[pathlib.Path]:
    """Draws errors of open-loop predictions against the step, one panel per error.

    Args:
      errors: by name, float [N, L] of N chunks; the line is their mean, the band from the 10th to
        the 90th percentile.
      labels: of the vertical axes, by name.
      context: steps in which the model saw the observation; the open loop begins after them.
      path: of the PNG; an SVG is written next to it.
      title: of the figure.

    Returns:
      the files.

    Raises:
      ConfigError: if matplotlib or the directory is missing.
      StorageError: if the figure cannot be written.
    """
    path = canvas.check_path(path)
    import matplotlib as mpl
    from matplotlib import figure as mpl_figure

    with mpl.rc_context(canvas.LETTERS):
        figure = mpl_figure.Figure((canvas.WIDTH, 3.0), layout="constrained")
        panels = figure.subplots(1, len(errors), squeeze=False)[0]
        for panel, (name, values) in zip(panels, errors.items(), strict=True):
            steps = np.arange(values.shape[1]) - context + 1
            low, high = np.percentile(values, [10, 90], axis=0)
            panel.axvspan(steps[0], 0.5, color="0.93", zorder=0)
            panel.fill_between(steps, low, high, color=canvas.COLOURS[0], alpha=0.16, lw=0)
            panel.plot(steps, values.mean(0), color=canvas.COLOURS[0], linewidth=1.8)
            panel.set_xlabel("open-loop step (agent steps)")
            panel.set_ylabel(labels[name])
            canvas.tidy(panel)
            panel.set_xlim(steps[0], steps[-1])
            panel.set_ylim(bottom=0)
        figure.suptitle(
            f"{title}\nmean of {len(next(iter(errors.values())))} chunks, band: 10th to 90th "
            "percentile; grey: the model sees the observations",
            fontsize=canvas.LETTERS["font.size"],
        )
        return canvas.save(figure, path)


def _draw_references(panel, reference: References, task: str, alone: bool) -> dict[str, "Artist"]:
    """Draws the scores of others in one task; returns the legend's entries."""
    handles, highest = {}, panel.dataLim.y1
    for (method, scores), dashes in zip(reference.items(), _DASHES, strict=False):
        if task in scores and scores[task] <= 2 * highest:
            line = panel.axhline(scores[task], color="0.35", linestyle=dashes, linewidth=1.2)
            handles[f"{method} ({scores[task]})" if alone else method] = line
    return handles


def _draw_seeds(panel, seeds: list[Curve], x: str, statistic: str, style: dict):
    """Draws a variant's seeds, or their statistic and its band; returns the legend's line."""
    if len(seeds) < MIN_SEEDS:
        for curve in seeds:
            points = curve.points(x)
            (line,) = panel.plot(*points.T, linewidth=1.1, **_sparse(style, len(points)))
        return line
    group = aggregation.aggregate(seeds, x, statistic)
    if len(group.x) > max(
        len(curve.points(x)) for curve in seeds
    ):  # they share no x: evenly spaced markers
        style = style | {"markevery": 0.1}
    else:
        style = _sparse(style, len(group.x))
    (line,) = panel.plot(group.x, group.value, linewidth=2, **style)
    panel.fill_between(group.x, group.low, group.high, color=style["color"], alpha=0.16, lw=0)
    return line


def _draw_run(panel, curve: Curve, x: str, style: dict, label: str) -> dict[str, "Artist"]:
    """Draws everything known about a single run; returns the legend's entries."""
    handles: dict[str, Artist] = {}
    collected = curve.points(x, "collect_return")
    if len(collected) > len(curve.points(x)):  # not only those before an evaluation
        (line,) = panel.plot(*collected.T, color="0.72", linewidth=0.9, zorder=1)
        handles["collected episodes, with noise"] = line
    points = curve.points(x)
    std = curve.points(x, "evaluation_return_std")
    if len(std) == len(points) and np.any(std[:, 1] > 0):
        label += "; bars: std of its episodes"
        panel.errorbar(
            *points.T, std[:, 1], fmt="none", ecolor=style["color"], elinewidth=1.1, capsize=2.5
        )
    (line,) = panel.plot(*points.T, linewidth=1.6, **_sparse(style, len(points)))
    handles[label] = line
    return handles


def _finish_panel(panel, x: str, title: str) -> None:
    panel.set_title(title if " " in title else title.replace("_", " "))
    panel.set_xlabel(X_LABELS[x])
    canvas.tidy(panel)
    panel.set_xlim(left=0)
    if panel.dataLim.y0 >= 0:
        panel.set_ylim(bottom=0)


def _sparse(style: dict, points: int) -> dict:
    """Returns a style without markers if there are too many points."""
    return style if points <= 40 else style | {"marker": ""}


def _seeds(groups: Mapping[str, Mapping[str, list]], variant: str) -> str:
    """Returns how many seeds a variant has over all tasks, in words."""
    counts = sorted({len(group[variant]) for group in groups.values() if variant in group})
    if counts == [1]:
        return "1 seed"
    return f"{'-'.join(map(str, dict.fromkeys([counts[0], counts[-1]])))} seeds"


def _band_words(statistic: str) -> str:
    words = {"mean": "mean", "iqm": "interquartile mean"}[statistic]
    return f"line: {words} over seeds; band: its 95 % bootstrap interval"


def _names(variants: list[str], labels: Mapping[str, str]) -> dict[str, str]:
    """Returns each variant's name in the legend."""
    for variant in labels:
        if variant not in variants:
            raise errors.ConfigError(
                f"--labels: there is no variant {variant!r}, only {', '.join(variants)}"
            )
    names = {variant: labels.get(variant, variant.replace("_", " ")) for variant in variants}
    if len(set(names.values())) < len(names):
        raise errors.ConfigError(
            "two variants have one name in the legend", "give them other --labels"
        )
    return names
