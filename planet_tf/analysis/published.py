"""Published scores of DMControl100k and 500k, and a table of this project's beside them.

Means and standard deviations over seeds, from pixels, as CURL's paper prints them (Srinivas et al.
2020, arXiv 2004.04136, table 1). Of PlaNet at 100k env steps two sets are in circulation; these are
the higher ones, which later papers print (COVR, table 4), as they do DrQ's.
"""

import json
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from planet_tf import errors, storage

TASKS = (
    "cartpole_swingup",
    "reacher_easy",
    "cheetah_run",
    "finger_spin",
    "ball_in_cup_catch",
    "walker_walk",
)
"""The tasks, in the order of the tables below."""

_Scores = dict[str, Sequence[tuple[int, int] | None]]
SCORES: dict[int, _Scores] = {
    100_000: {
        "PlaNet": [(563, 73), (82, 174), (165, 123), (560, 77), (0, 0), (224, 48)],
        "Dreamer": [(326, 27), (314, 155), (235, 137), (341, 70), (246, 174), (277, 12)],
        "SAC+AE": [(311, 11), (274, 14), (267, 24), (740, 64), (391, 82), (394, 22)],
        "SLAC v1": [None, None, (319, 56), (693, 141), (512, 110), (361, 73)],
        "CURL": [(582, 146), (538, 233), (299, 48), (767, 56), (769, 43), (403, 24)],
        "DrQ": [(759, 92), (601, 213), (344, 67), (901, 104), (913, 53), (612, 164)],
    },
    500_000: {
        "PlaNet": [(475, 71), (210, 390), (305, 131), (561, 284), (460, 380), (351, 58)],
        "Dreamer": [(762, 27), (793, 164), (570, 253), (796, 183), (879, 87), (897, 49)],
        "CURL": [(841, 45), (929, 44), (518, 28), (926, 45), (959, 27), (902, 43)],
    },
}
"""By env steps and method: mean and standard deviation per task; None: not published."""

PAPER = {
    "cartpole_swingup": 821,
    "reacher_easy": 832,
    "cheetah_run": 662,
    "finger_spin": 700,
    "ball_in_cup_catch": 930,
    "walker_walk": 951,
}
"""PlaNet after 1000 episodes (Hafner et al. 2019, table 1)."""

_NEAR = 0.05  # of the budget: an episode more or less counts as the same


class Score(NamedTuple):
    """The score of one seed: mean return of some evaluation episodes after some env steps."""

    task: str
    variant: str
    seed: int
    env_steps: int
    minutes: float
    mean: float


def references(name: str) -> dict[str, dict[str, int]]:
    """Returns published scores by method and task.

    Args:
      name: 'paper' for PlaNet after 1000 episodes; '100k' or '500k' for those after as many env
        steps of PlaNet, Dreamer and CURL.
    """
    if name == "paper":
        return {"PlaNet in the paper, 1000 episodes": PAPER}
    scores = SCORES[int(name.removesuffix("k")) * 1000]
    found = {}
    for method in ("PlaNet", "Dreamer", "CURL"):
        pairs = zip(TASKS, scores[method], strict=True)
        found[f"{method}, {name} env steps"] = {task: pair[0] for task, pair in pairs if pair}
    return found


def read(path: str | os.PathLike) -> Score:
    """Reads what `planet-tf evaluate RUN --json=FILE` wrote.

    The variant is the run directory's name without its task and seed: `cpu` of
    `cheetah_run-cpu-seed0`.

    Raises:
      ConfigError: if it holds no score of a run.
    """
    path = storage.expand(path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        run = found["run"]
        task = found["task"]
        variant = run["variant"].removeprefix(f"{task}-")
        counts = int(run["seed"]), int(run["env_steps"]), float(run["minutes"])
        return Score(task, variant, *counts, float(found["mean"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise errors.ConfigError(
            f"{path} holds no score of a run",
            "planet-tf evaluate RUN --json=FILE writes them",
        ) from error


def table(scores: Iterable[Score]) -> str:
    """Lays out scores beside the published ones: one Markdown table per budget of env steps.

    A cell is the mean over seeds ± their standard deviation (of the population, as the published
    ones), and the number of seeds.

    Raises:
      ConfigError: if a score is of another task or budget, or two are of the same seed.
    """
    budgets: dict[int, dict[str, dict[str, dict[int, float]]]] = {}
    for score in scores:
        rows = budgets.setdefault(_budget(score), {})
        seeds = rows.setdefault(score.variant, {}).setdefault(score.task, {})
        if score.seed in seeds:
            raise errors.ConfigError(
                f"two scores are of seed {score.seed} of {score.variant} in {score.task} after "
                f"about {_budget(score):,} env steps",
                "name one of them",
            )
        seeds[score.seed] = score.mean
    return "\n\n".join(_one_table(budget, budgets[budget]) for budget in sorted(budgets))


def _budget(score: Score) -> int:
    if score.task in TASKS:
        for budget in SCORES:
            if abs(score.env_steps - budget) <= _NEAR * budget:
                return budget
    raise errors.ConfigError(
        f"{score.variant}, seed {score.seed}: there are no published scores of {score.task} after "
        f"{score.env_steps} env steps",
        f"published are {', '.join(TASKS)} after {' and '.join(map(str, SCORES))}",
    )


def _one_table(budget: int, ours: dict[str, dict[str, dict[int, float]]]) -> str:
    names = " | ".join(task.replace("_", " ") for task in TASKS)
    lines = [f"| {budget:,} env steps | {names} |", "|---" * (len(TASKS) + 1) + "|"]
    for variant, found in ours.items():
        cells = [_cell([*found[task].values()]) if task in found else "" for task in TASKS]
        lines.append(f"| **{variant}** | {' | '.join(cells)} |")
    for method, values in SCORES[budget].items():
        cells = [f"{value[0]} ± {value[1]}" if value else "" for value in values]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values: Sequence[float]) -> str:
    count = len(values)
    seeds = "1 seed" if count == 1 else f"{count} seeds"
    spread = f" ± {np.std(values):.0f}" if count > 1 else ""
    return f"**{np.mean(values):.0f}{spread}** ({seeds})"
