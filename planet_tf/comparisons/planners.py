"""Measures what planning time buys: one trained model, planners of many kinds and sizes."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from planet_tf import training
from planet_tf.analysis.planners import Row
from planet_tf.comparisons.points import Point
from planet_tf.experience.timing import TimedPolicy
from planet_tf.training.checkpoints import Which


def default_points(horizon: int, discrete: bool = False) -> list[Point]:
    """Returns planners from 50 to 1000 evaluations around a horizon, in agent steps."""
    sizes = [(25, 2), (50, 2), (100, 2), (100, 4), (250, 4)]
    if discrete:
        return [_sampler("CategoricalCEM", *size, horizon) for size in sizes]
    cold = ("CEM.warm_start = False", "CEM.std = 1.0")
    warm = ("CEM.warm_start = True", "CEM.std = 0.5")
    points = [_sampler("CEM", *size, horizon, more=cold) for size in sizes]
    points += [_sampler("CEM", *size, horizon, " warm", warm) for size in sizes[:-1]]
    for name in ("ICEM", "MPPI"):
        points += [_sampler(name, *size, horizon) for size in ((50, 2), (100, 4))]
    points += [_shooting(count, horizon) for count in (100, 400)]
    for other in (round(0.6 * horizon), round(1.5 * horizon)):
        points.append(_sampler("CEM", 100, 4, other, f", {other} steps", cold))
    half = (*cold, "WorldModel.precision = 'mixed_bfloat16'")
    points.append(_sampler("CEM", 100, 4, horizon, ", bfloat16", half))
    return points


def _sampler(
    planner: str,
    candidates: int,
    iterations: int,
    horizon: int,
    note: str = "",
    more: Sequence[str] = (),
) -> Point:
    sizes = {
        "candidates": candidates,
        "iterations": iterations,
        "elites": max(5, candidates // 10),
        "horizon": horizon,
    }
    kind, _, rest = note.partition(",")
    name = f"{planner}{kind} {candidates} x {iterations}" + (f",{rest}" if rest else "")
    settings = [f"{planner}.{key} = {value}" for key, value in sizes.items()]
    return Point(name, (f"PlanetPolicy.planner = @{planner}()", *settings, *more))


def _shooting(candidates: int, horizon: int) -> Point:
    bindings = (
        "PlanetPolicy.planner = @RandomShooting()",
        f"RandomShooting.candidates = {candidates}",
        f"RandomShooting.horizon = {horizon}",
    )
    return Point(f"RandomShooting {candidates}", bindings)


class Subject(NamedTuple):
    """What is measured.

    Attributes:
      updates: that its model was trained for.
      horizon: of its own planner, in agent steps; 12 if that is not known.
      discrete: whether its actions are choices.
    """

    updates: int
    horizon: int
    discrete: bool


def subject(path: str, checkpoint: Which = None) -> Subject:
    """Looks at a trained policy.

    Raises:
      ConfigError: if there is no such policy or checkpoint.
    """
    loaded = training.load_agent(path, checkpoint)
    policy = loaded.agent.policy
    return Subject(loaded.updates, policy.planner.horizon or 12, policy.discrete)


def measure(
    path: str,
    point: Point,
    numbers: Collection[int],
    seed: int,
    task: str | None = None,
    checkpoint: Which = None,
    report: Callable[[str], None] = print,
) -> Iterator[Row]:
    """Runs episodes of a trained model with another planner, without noise.

    Args:
      path: a run's directory, or an exported policy's.
      point: the planner.
      numbers: of the episodes, from 0; with the seed they decide the starts.
      seed: of all episodes.
      task: see `training.load`.
      checkpoint: the run's; see `training.load_agent`.
      report: called with one line about each failure of the environment.

    Yields:
      one row per episode.

    Raises:
      ConfigError: if the planner cannot be used.
      EnvironmentFailure: if the environment keeps failing.
    """
    trained = training.load(path, task, checkpoint, point.bindings, report=report)
    assert trained.agent is not None  # as there are bindings
    planner, policy = trained.agent.policy.planner, TimedPolicy(trained.policy)
    sequences = np.random.SeedSequence(seed).spawn(max(numbers, default=-1) + 1)
    try:
        for number in numbers:
            policy.seconds = []
            (episode,) = trained.collector.collect(policy, [sequences[number]])
            yield Row(
                path,
                trained.collector.env.name,
                trained.updates,
                seed,
                type(planner).__name__,
                point.name,
                point.flags,
                planner.evaluations or "",
                planner.horizon or "",
                trained.agent.world_model.precision,
                number,
                float(episode["reward"].sum()),
                1000 * float(np.median(policy.seconds)),
            )
    finally:
        trained.collector.close()
