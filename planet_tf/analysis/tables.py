"""Tables of results: learning curves as CSV files, and reading either form. Needs numpy alone."""

import csv
import io
import math
import os
import pathlib
from collections.abc import Iterable

import numpy as np

from planet_tf import errors, storage
from planet_tf.analysis.curves import COLUMNS, COUNTERS, NUMBERS, Curve, read_run

_MAY_BE_EMPTY = ("evaluation_return", "evaluation_return_std", "collect_return")


def read(path: str | os.PathLike) -> list[Curve]:
    """Reads a run's directory or a results CSV: one curve per task, variant and seed.

    Raises:
      ConfigError: if there is no such path, or no evaluation in it.
    """
    path = storage.expand(path)
    if not path.exists():
        raise errors.ConfigError(
            f"{path}: no such file or directory", "name a run's directory or a CSV"
        )
    curves = read_run(path) if path.is_dir() else read_csv(path)
    for curve in curves:
        if not len(curve.points("episodes")):
            raise errors.ConfigError(
                f"{path}: no evaluation of {curve.task} yet", "see train.evaluate_every"
            )
    return curves


def read_csv(path: pathlib.Path) -> list[Curve]:
    """Reads a results CSV, of one run or of several.

    Raises:
      ConfigError: if its columns, in any order, are not `COLUMNS`, or a cell cannot be read.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, restkey="", restval="")
            header = list(reader.fieldnames or [])
            _check_header(path, header)
            rows = [_cells(f"{path}, line {reader.line_num}", row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise errors.ConfigError(
            f"{path}: not a readable CSV: name a run's directory or a CSV"
        ) from error
    if not rows:
        raise errors.ConfigError(f"{path}: no evaluation in it")
    runs: dict[tuple[str, str, int], list[list[float]]] = {}
    for names, numbers in rows:
        runs.setdefault(names, []).append(numbers)
    return [
        Curve(*names, dict(zip(NUMBERS, _by_episodes(numbers), strict=True)), str(path))
        for names, numbers in runs.items()
    ]


def write_csvs(curves: Iterable[Curve], directory: str | os.PathLike) -> list[pathlib.Path]:
    """Writes a results CSV for each run's directory among the sources, with the directory's name.

    Args:
      curves: those read from CSVs are skipped.
      directory: created if it is missing.

    Returns:
      the files.

    Raises:
      ConfigError: if there is nothing to write, two files have one name, or there is a file where
        the directory would be.
      StorageError: if they cannot be written.
    """
    directory = storage.expand(directory)
    runs: dict[str, list[Curve]] = {}
    for curve in curves:
        if pathlib.Path(curve.source).is_dir():
            runs.setdefault(curve.source, []).append(curve)
    if not runs:
        raise errors.ConfigError(f"--csv={directory}: no run's directory is given")
    files: dict[pathlib.Path, str] = {}
    for source in runs:
        file = directory / f"{pathlib.Path(source).resolve().name}.csv"
        if file in files:
            raise errors.ConfigError(
                f"{source} and {files[file]}: both would be {file}: rename one"
            )
        files[file] = source
    with storage.writing(directory):
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise errors.ConfigError(f"--csv={directory}: not a directory") from error
    for file, source in files.items():
        write_csv(runs[source], file)
    return list(files)


def write_csv(curves: Iterable[Curve], path: str | os.PathLike) -> None:
    """Writes curves as a results CSV with one row per evaluation.

    Raises:
      StorageError: if it cannot be written; `path` is as it was.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for curve in curves:
        for row in np.flatnonzero(np.isfinite(curve.columns["evaluation_return"])):
            numbers = [_cell(column, curve.columns[column][row]) for column in NUMBERS]
            writer.writerow([curve.task, curve.variant, curve.seed, *numbers])
    storage.write_text(path, text.getvalue())


def _check_header(path: pathlib.Path, header: list[str]) -> None:
    unknown = [column for column in header if column not in COLUMNS]
    missing = [column for column in COLUMNS if column not in header]
    if unknown or missing:
        wrong = [f"unknown column {column!r}" for column in unknown[:1]]
        wrong += [f"no column {column!r}" for column in missing[:1]]
        raise errors.ConfigError(
            f"{path}: {', '.join(wrong)}: a results CSV has {','.join(COLUMNS)}"
        )


def _cells(where: str, row: dict[str, str]) -> tuple[tuple[str, str, int], list[float]]:
    """Returns a row's task, variant and seed, and its numbers."""
    column = ""
    try:
        if "" in row:
            raise ValueError("more cells than columns")
        column = "seed"
        names = row["task"], row["variant"], int(row["seed"])
        numbers = []
        for column in NUMBERS:
            empty = column in _MAY_BE_EMPTY and not row[column]
            numbers.append(math.nan if empty else float(row[column]))
    except ValueError as error:
        wrong = f"{column} is {row[column]!r}, not a number" if column else str(error)
        raise errors.ConfigError(
            f"{where}: {wrong}", "fix it or rewrite the file with --csv"
        ) from error
    return names, numbers


def _by_episodes(rows: list[list[float]]) -> np.ndarray:
    """Returns the columns of rows, in the order of their episodes."""
    table = np.array(rows)
    return table[np.argsort(table[:, NUMBERS.index("episodes")], kind="stable")].T


def _cell(column: str, value: float) -> str:
    if not math.isfinite(value):
        return ""
    if column in COUNTERS:
        return str(int(value))
    return f"{value:.2f}" if column == "minutes" else f"{value:.6g}"
