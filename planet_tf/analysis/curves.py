"""Learning curves, and how they are read from a run's directory. Needs numpy alone."""

import dataclasses
import datetime
import json
import math
import pathlib
import re
from collections.abc import Sequence

import numpy as np

from planet_tf import errors, run_files, storage

COLUMNS = (
    "task",
    "variant",
    "seed",
    "episodes",
    "env_steps",
    "evaluation_return",
    "evaluation_return_std",
    "collect_return",
    "minutes",
    "updates",
)
"""Columns of a results CSV."""

NUMBERS = COLUMNS[3:]
"""The columns that hold numbers."""

COUNTERS = ("episodes", "env_steps", "updates")
"""The columns that hold whole numbers."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """The scores of one run in one task.

    Attributes:
      task: name of the environment.
      variant: name shared by runs that differ only in their seed.
      seed: the run's.
      columns: the numbers of `COLUMNS` by name, float64 [rows], by increasing `episodes`. A row is
        an evaluation, a collected episode, or both; values it does not have are NaN.
      source: the path it was read from.
    """

    task: str
    variant: str
    seed: int
    columns: dict[str, np.ndarray]
    source: str = ""

    def points(self, x: str, y: str = "evaluation_return") -> np.ndarray:
        """Returns columns x and y, [rows, 2], of the rows that have y."""
        has_y = np.isfinite(self.columns[y])
        return np.stack([self.columns[x][has_y], self.columns[y][has_y]], 1)


def read_run(root: pathlib.Path) -> list[Curve]:
    """Reads a run's directory: one curve per task.

    The variant is the directory's name without a trailing `-seedN`.

    Raises:
      ConfigError: if the directory holds no run.
    """
    if not (root / run_files.SCALARS).is_file():
        raise errors.ConfigError(
            f"{root}: no scalars.jsonl in it: name a run, the --root_dir of `train`"
        )
    task, seed = _identity(root)
    tasks = [task] if isinstance(task, str) else task
    several = tasks is task
    logged = storage.json_lines(root / run_files.SCALARS)
    lines = [line for line in logged if {"time", "episodes"} <= line.keys()]
    minutes = minutes_without_pauses([line["time"] for line in lines], _starts(root))
    variant = re.sub(r"-seed\d+$", "", root.resolve().name)
    curves = []
    for name in tasks:
        suffix = f"/{name}" if several else ""
        tags = {
            f"evaluation/return{suffix}": "evaluation_return",
            f"collect/return{suffix}": "collect_return",
        }
        if not several:  # the logged spread is that of the mean over tasks
            tags["evaluation/return_std"] = "evaluation_return_std"
        rows: dict[int, dict[str, float]] = {}
        newest = 0
        for line, minute in zip(lines, minutes, strict=True):
            values = {column: _number(line.get(tag)) for tag, column in tags.items() if tag in line}
            if values:
                # An evaluation is logged after the last episode that it counts; one by remote
                # collectors may be logged after later episodes.
                newest = max(newest, line["episodes"])
                counters = {counter: _number(line.get(counter)) for counter in COUNTERS}
                row = rows.setdefault(line["episodes"], {})
                row.update(values, **counters)
                if line["episodes"] == newest:
                    row["minutes"] = float(minute)
        columns = {
            column: np.array([rows[count].get(column, np.nan) for count in sorted(rows)])
            for column in NUMBERS
        }
        curves.append(Curve(name, variant, seed, columns, str(root)))
    return curves


def minutes_without_pauses(times: Sequence[float], starts: Sequence[float]) -> np.ndarray:
    """Returns the minutes from the first of the times to each, without pauses.

    A step in which a process started counts from there; one backwards (a clock that was set)
    counts as 0.

    Args:
      times: of what the run logged, in seconds.
      starts: of the run's processes, in seconds.
    """
    ends, begun = np.asarray(times, np.float64), np.sort([-np.inf, *starts])
    before = np.concatenate([ends[:1], ends[:-1]])
    newest = begun[np.searchsorted(begun, ends, side="right") - 1]
    return np.cumsum(np.maximum(ends - np.maximum(before, newest), 0)) / 60


def _starts(root: pathlib.Path) -> list[float]:
    """Returns when the processes of a run started, in seconds; see `training.provenance`."""
    processes = storage.json_lines(root / run_files.PROCESSES)
    found = [process["started"] for process in processes if "started" in process]
    return [datetime.datetime.fromisoformat(text).timestamp() for text in found]


def _identity(root: pathlib.Path) -> tuple[str | list[str], int]:
    """Returns a run's task, or tasks, and seed."""
    try:
        run = json.loads((root / run_files.IDENTITY).read_text(encoding="utf-8"))
        return run["task"], int(run["seed"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise errors.ConfigError(f"{root}: its run.json has no task and seed") from error


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)  # scalars.jsonl has null for NaN
