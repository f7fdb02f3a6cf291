"""Learning curves aggregated over seeds: statistics with confidence intervals."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from planet_tf import errors
from planet_tf.analysis.curves import Curve
from planet_tf.analysis.published import PAPER


def iqm(values: np.ndarray) -> np.ndarray:
    """Returns the interquartile mean over the first axis.

    As in Agarwal et al. 2021 (rliable), floor(n / 4) values are dropped at either end; with fewer
    than 4 values it is the mean.
    """
    cut = len(values) // 4
    return np.sort(values, axis=0)[cut : len(values) - cut].mean(0)


def mean(values: np.ndarray) -> np.ndarray:
    """Returns the mean over the first axis."""
    return values.mean(0)


STATISTICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"mean": mean, "iqm": iqm}
"""The statistics over seeds, by name."""


def interval(
    strata: Sequence[np.ndarray],
    statistic: Callable[[np.ndarray], np.ndarray],
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the stratified percentile-bootstrap interval of a statistic over all strata's runs.

    Whole runs are drawn with replacement, as many per stratum as it has.

    Args:
      strata: [runs, points] per stratum, such as a task; all have the same points.
      statistic: of the runs of all strata, over the first axis.
      confidence: fraction of the resamples that lies in the interval.
      resamples: draws of the runs.
      seed: of the draws; the same data give the same interval.

    Returns:
      lower and upper end, [points] each.
    """
    random = np.random.default_rng(seed)
    draws = [random.integers(len(runs), size=(resamples, len(runs))) for runs in strata]
    values = [
        statistic(np.concatenate([runs[draw[i]] for runs, draw in zip(strata, draws, strict=True)]))
        for i in range(resamples)
    ]
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail], axis=0)
    return low, high


@dataclasses.dataclass(frozen=True)
class Aggregate:
    """Curves aggregated over seeds: x, the statistic, and its interval, [points] each."""

    x: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def aggregate(curves: Sequence[Curve], x: str, statistic: str = "mean") -> Aggregate:
    """Aggregates the evaluations of several seeds.

    The points are all x at which any seed was evaluated, in the range that all seeds cover; between
    a seed's own evaluations its values are interpolated linearly (minutes differ between seeds).

    Args:
      curves: one per seed, of one task and variant.
      x: `env_steps`, `episodes` or `minutes`.
      statistic: a name in `STATISTICS`.

    Raises:
      ConfigError: if no x lies within all of them.
    """
    lines = [curve.points(x) for curve in curves]
    start = max(line[0, 0] for line in lines)
    end = min(line[-1, 0] for line in lines)
    grid = np.unique(np.concatenate([line[:, 0] for line in lines]))
    grid = grid[(start <= grid) & (grid <= end)]
    if not len(grid):
        first = min(zip(lines, curves, strict=True), key=lambda pair: pair[0][-1, 0])[1]
        raise errors.ConfigError(
            f"{first.source}: ends before another seed's first evaluation, in {x}",
            "omit it, or choose another --x",
        )
    values = np.stack([np.interp(grid, line[:, 0], line[:, 1]) for line in lines])
    low, high = interval([values], STATISTICS[statistic])
    return Aggregate(grid, STATISTICS[statistic](values), low, high)


def by_task_and_variant(curves: Iterable[Curve]) -> dict[str, dict[str, list[Curve]]]:
    """Groups curves by task and then variant, in their order; within a group by seed.

    Raises:
      ConfigError: if two have the same task, variant and seed.
    """
    groups: dict[str, dict[str, list[Curve]]] = {}
    for curve in curves:
        group = groups.setdefault(curve.task, {}).setdefault(curve.variant, [])
        for other in group:
            if other.seed == curve.seed:
                raise errors.ConfigError(
                    f"{curve.source} and {other.source}: both are seed {curve.seed} of "
                    f"{curve.variant} in {curve.task}",
                    "name one of them, or rename a directory or variant",
                )
        group.append(curve)
        group.sort(key=lambda curve: curve.seed)
    return groups


def table(curves: Iterable[Curve]) -> str:
    """Lays out results as a Markdown table with one row per task and variant.

    A seed's last evaluation counts, not its best. Episodes, env steps and minutes are given as a
    range over seeds. The last column is the paper's score after 1000 episodes.
    """
    lines = [
        "| task | variant | seeds | episodes | env steps | minutes | return | each | paper |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for task, group in by_task_and_variant(curves).items():
        for variant, seeds in group.items():
            ends = [curve.points("episodes")[-1] for curve in seeds]
            spans = [_span([curve.points(x)[-1, 0] for curve in seeds]) for x in _SPANS]
            returns = [f"{end[1]:.0f}" for end in ends]
            total = f"{np.mean([end[1] for end in ends]):.0f}"
            paper = f"{PAPER.get(task, '')}"
            cells = [task, variant, f"{len(seeds)}", *spans, total, " ".join(returns), paper]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


_SPANS = ("episodes", "env_steps", "minutes")


def _span(values: Sequence[float]) -> str:
    return " to ".join(dict.fromkeys(f"{end(values):,.0f}" for end in (min, max)))
