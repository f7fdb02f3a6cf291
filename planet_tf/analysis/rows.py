"""Measurements as rows of a CSV: named tuples of numbers and texts, added one at a time."""

import csv
import io
import os
from typing import Any, NamedTuple, TypeVar

from planet_tf import errors, storage

R = TypeVar("R", bound=NamedTuple)


def read(path: str | os.PathLike, kind: type[R], what: str) -> list[R]:
    """Reads a CSV; a missing file has no rows. A last line that was cut off is left out.

    Args:
      path: the file.
      kind: a NamedTuple; columns of type int and float become numbers, all others stay texts.
      what: the rows hold, for the error.

    Raises:
      ConfigError: if the file holds something else.
    """
    path = storage.expand(path)
    if not path.exists():
        return []
    try:
        text = path.read_bytes().decode()
        text, cut_off = text[: text.rfind("\n") + 1], text[text.rfind("\n") + 1 :]
        if not text and ",".join(kind._fields).startswith(cut_off):
            return []
        reader = csv.DictReader(io.StringIO(text, newline=""))
        if tuple(reader.fieldnames or ()) != kind._fields:
            raise ValueError(f"its columns are not {','.join(kind._fields)}")
        return [_row(kind, cells) for cells in reader]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise errors.ConfigError(
            f"{path} holds no {what}: {error}",
            "name another file with --out",
        ) from error


def _row(kind: type[R], cells: dict[str, str]) -> R:
    if None in cells or None in cells.values():
        raise ValueError("a row has too many cells, or too few")
    types = {name: t if t in (int, float) else str for name, t in kind.__annotations__.items()}
    values: dict[str, Any] = {name: types[name](cell) for name, cell in cells.items()}
    return kind(**values)  # type: ignore[call-overload]


def append(path: str | os.PathLike, row: NamedTuple) -> None:
    """Adds a row to a CSV, which is created if it is missing; floats have three decimals."""
    path, lines = storage.expand(path), io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    with storage.writing(path):
        storage.drop_truncated_line(path)
    if not path.exists() or not path.stat().st_size:
        writer.writerow(row._fields)
    writer.writerow(round(value, 3) if isinstance(value, float) else value for value in row)
    storage.append(path, lines.getvalue())


def check_same(path: str | os.PathLike, rows: list, **values) -> None:
    """Raises ConfigError if the first row of a file has other values than these."""
    for name, value in values.items():
        if rows and getattr(rows[0], name) != value:
            raise errors.ConfigError(
                f"{path} holds measurements of {name} {getattr(rows[0], name)}, not {value}",
                "name another file with --out",
            )
