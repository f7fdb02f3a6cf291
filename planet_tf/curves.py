"""Learning curves: read from runs and from tables of results, and written.

Of numpy alone: curves can be read and drawn where no TensorFlow is.
"""

import ast
import csv
import dataclasses
import json
import math
import os
import pathlib
import re
from collections.abc import Iterable, Sequence

import numpy as np

from planet_tf import paths

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

PAPER_SCORES = {
    "cartpole_swingup": 821,
    "reacher_easy": 832,
    "cheetah_run": 662,
    "finger_spin": 700,
    "ball_in_cup_catch": 930,
    "walker_walk": 951,
}
"""PlaNet after 1000 episodes (Hafner et al. 2019, table 1)."""

PAUSE_MINUTES = 30.0
"""A longer silence in scalars.jsonl lies between two sittings, and is no time of the run."""

_NAMES = COLUMNS[:3]
_NUMBERS = COLUMNS[3:]
_COUNTERS = ("episodes", "env_steps", "updates")
_MAY_BE_EMPTY = ("evaluation_return", "evaluation_return_std", "collect_return")


class CurveError(ValueError):
    """Input that no curve can be made of; the message names it and the way out."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """What one run scored in one task.

    Attributes:
      task: name of the environment.
      variant: what the runs that differ in their seed alone have in common.
      seed: the run's.
      columns: the numbers of `COLUMNS` by name, float64 [rows], by increasing `episodes`. A row is
        an evaluation, a collected episode, or both; NaN where a row has no such value.
      source: where it was read.
    """

    task: str
    variant: str
    seed: int
    columns: dict[str, np.ndarray]
    source: str = ""

    def points(self, x: str, y: str = "evaluation_return") -> np.ndarray:
        """Returns column x beside column y, [rows, 2], where the row has y."""
        has_y = np.isfinite(self.columns[y])
        return np.stack([self.columns[x][has_y], self.columns[y][has_y]], 1)


def read(path: str | os.PathLike) -> list[Curve]:
    """Reads a run's directory or a results CSV: a curve a task, variant and seed.

    Raises:
      CurveError: if there is no such path, or no evaluation in it.
    """
    path = paths.expanded(path)
    if not path.exists():
        raise CurveError(f"{path}: no such file or directory: name a run's directory or a CSV")
    curves = read_run(path) if path.is_dir() else read_csv(path)
    for curve in curves:
        if not len(curve.points("episodes")):
            raise CurveError(
                f"{path}: no evaluation of {curve.task} yet: wait for one, see train.evaluate_every"
            )
    return curves


# A run's directory.


def read_run(root: pathlib.Path) -> list[Curve]:
    """Reads a run's directory; several tasks that one agent learns give a curve each.

    The variant is the directory's name without a trailing `-seedN`.

    Raises:
      CurveError: if the directory holds no run.
    """
    if not (root / "scalars.jsonl").is_file():
        raise CurveError(
            f"{root}: no scalars.jsonl in it: name the directory of a run, train.py's --root_dir"
        )
    task, seed = _identity(root)
    tasks = [task] if isinstance(task, str) else task
    several = tasks is task
    lines = _lines(root / "scalars.jsonl")
    minutes = minutes_without_pauses([line["time"] for line in lines])
    variant = re.sub(r"-seed\d+$", "", root.resolve().name)
    curves = []
    for name in tasks:
        suffix = f"/{name}" if several else ""
        tags = {
            f"evaluation/return{suffix}": "evaluation_return",
            f"collect/return{suffix}": "collect_return",
        }
        if not several:  # the spread is logged of the mean alone
            tags["evaluation/return_std"] = "evaluation_return_std"
        rows: dict[int, dict[str, float]] = {}
        for line, minute in zip(lines, minutes, strict=True):
            values = {column: _number(line.get(tag)) for tag, column in tags.items() if tag in line}
            if values:
                # An evaluation follows the collection of the episode that it counts last.
                counters = {counter: _number(line.get(counter)) for counter in _COUNTERS}
                row = rows.setdefault(line["episodes"], {})
                row.update(values, minutes=float(minute), **counters)
        columns = {
            column: np.array([rows[count].get(column, np.nan) for count in sorted(rows)])
            for column in _NUMBERS
        }
        curves.append(Curve(name, variant, seed, columns, str(root)))
    return curves


def minutes_without_pauses(times: Sequence[float]) -> np.ndarray:
    """Returns the minutes from the first of these times, in seconds, to each, pauses left out.

    A pause is a step of more than `PAUSE_MINUTES`, or one back (a clock that was set): it counts as
    none.
    """
    steps = np.diff(np.asarray(times, np.float64), prepend=times[:1]) / 60
    steps[(steps > PAUSE_MINUTES) | (steps < 0)] = 0
    return np.cumsum(steps)


def _identity(root: pathlib.Path) -> tuple[str | list[str], int]:
    """Returns a run's task, or tasks, and seed: of run.json, else, in old runs, of config.gin."""
    try:
        if (root / "run.json").exists():
            run = json.loads((root / "run.json").read_text(encoding="utf-8"))
            return run["task"], int(run["seed"])
        settings = (root / "config.gin").read_text(encoding="utf-8")
        values = dict(re.findall(r"^train\.(task|seed) = (.+)$", settings, re.MULTILINE))
        return ast.literal_eval(values["task"]), int(values["seed"])
    except (OSError, ValueError, KeyError, TypeError, SyntaxError) as error:
        raise CurveError(
            f"{root}: neither run.json nor config.gin in it tells the run's task and seed"
        ) from error


def _lines(path: pathlib.Path) -> list[dict]:
    """Returns the objects of scalars.jsonl, without torn lines.

    A run that is killed may tear its last line, and the resumed one writes on behind it.
    """
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and "time" in line and "episodes" in line:
            lines.append(line)
    return lines


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)  # scalars.jsonl has null for NaN


# Tables of results.


def read_csv(path: pathlib.Path) -> list[Curve]:
    """Reads a results CSV, of one run or of several.

    Raises:
      CurveError: if it has other columns than `COLUMNS`, in whichever order, or an unreadable cell.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, restkey="", restval="")
            header = list(reader.fieldnames or [])
            _check_header(path, header)
            rows = [_cells(f"{path}, line {reader.line_num}", row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CurveError(f"{path}: not a readable CSV: name a run's directory or a CSV") from error
    if not rows:
        raise CurveError(f"{path}: no evaluation in it: it has a header at most")
    runs: dict[tuple[str, str, int], list[list[float]]] = {}
    for names, numbers in rows:
        runs.setdefault(names, []).append(numbers)
    return [
        Curve(*names, dict(zip(_NUMBERS, _by_episodes(numbers), strict=True)), str(path))
        for names, numbers in runs.items()
    ]


def write_csvs(curves: Iterable[Curve], directory: str | os.PathLike) -> list[pathlib.Path]:
    """Writes a results CSV of each run's directory among the sources, named as it is.

    Args:
      curves: those of CSVs are passed over.
      directory: made if it is not there.

    Returns:
      the files.

    Raises:
      CurveError: if there is nothing to write, two files of one name, or no way to write them.
    """
    directory = paths.expanded(directory)
    runs: dict[str, list[Curve]] = {}
    for curve in curves:
        if pathlib.Path(curve.source).is_dir():
            runs.setdefault(curve.source, []).append(curve)
    if not runs:
        raise CurveError(f"--csv={directory}: no run's directory is given, of which to write a CSV")
    files: dict[pathlib.Path, str] = {}
    for source in runs:
        file = directory / f"{pathlib.Path(source).resolve().name}.csv"
        if file in files:
            raise CurveError(f"{source} and {files[file]}: both would be {file}: rename one")
        files[file] = source
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for file, source in files.items():
            write_csv(runs[source], file)
    except OSError as error:
        raise CurveError(f"--csv={directory}: cannot be written ({error.strerror})") from error
    return list(files)


def write_csv(curves: Iterable[Curve], path: str | os.PathLike) -> None:
    """Writes curves as a results CSV, a row an evaluation."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for curve in curves:
            for row in np.flatnonzero(np.isfinite(curve.columns["evaluation_return"])):
                numbers = [_cell(column, curve.columns[column][row]) for column in _NUMBERS]
                writer.writerow([curve.task, curve.variant, curve.seed, *numbers])


def _check_header(path: pathlib.Path, header: list[str]) -> None:
    unknown = [column for column in header if column not in COLUMNS]
    missing = [column for column in COLUMNS if column not in header]
    if unknown or missing:
        wrong = [f"unknown column {column!r}" for column in unknown[:1]]
        wrong += [f"no column {column!r}" for column in missing[:1]]
        raise CurveError(f"{path}: {', '.join(wrong)}: a results CSV has {','.join(COLUMNS)}")


def _cells(where: str, row: dict[str, str]) -> tuple[tuple[str, str, int], list[float]]:
    """Returns a row's task, variant and seed, and its numbers."""
    column = ""
    try:
        if "" in row:
            raise ValueError("more cells than columns")
        column = "seed"
        names = row["task"], row["variant"], int(row["seed"])
        numbers = []
        for column in _NUMBERS:
            empty = column in _MAY_BE_EMPTY and not row[column]
            numbers.append(math.nan if empty else float(row[column]))
    except ValueError as error:
        wrong = f"{column} is {row[column]!r}, no number" if column else str(error)
        raise CurveError(f"{where}: {wrong}: mend it or write it anew with --csv") from error
    return names, numbers


def _by_episodes(rows: list[list[float]]) -> np.ndarray:
    """Returns the columns of rows, in the order of their episodes."""
    table = np.array(rows)
    return table[np.argsort(table[:, _NUMBERS.index("episodes")], kind="stable")].T


def _cell(column: str, value: float) -> str:
    if not math.isfinite(value):
        return ""
    if column in _COUNTERS:
        return str(int(value))
    return f"{value:.2f}" if column == "minutes" else f"{value:.6g}"
