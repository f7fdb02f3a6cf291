"""Paths that users name, and files that are written whole or not at all."""

import contextlib
import json
import os
import pathlib
import re
import sys
from collections.abc import Iterator
from typing import BinaryIO

from planet_tf import errors

UNFINISHED = ".tmp"
"""Suffix of a file that is being written; one left by a kill is deleted on the next start."""


def expand(path: str | os.PathLike) -> pathlib.Path:
    """Returns a path with a leading `~` replaced by the home directory.

    A shell expands `~` only at the start of a word, so `--root_dir=~/x` reaches us as it is.
    """
    return pathlib.Path(os.path.expanduser(path))


def tensorflow_path(path: str | os.PathLike) -> pathlib.Path:
    """Returns the expanded path of a directory that TensorFlow reads or writes.

    TensorFlow treats checkpoint paths as glob patterns: in a run named `x[12]` it would delete the
    checkpoints of `x1`, and it cannot find those of `a[lr=1]`.

    Raises:
      ConfigError: if the path holds one of `* ? [` or a backslash.
    """
    path = expand(path)
    if wildcard := re.search(r"[*?\[\\]", os.fspath(path)):
        raise errors.ConfigError(
            f"{path}: TensorFlow treats {wildcard[0]!r} in a path as a wildcard",
            "use a directory without * ? [ \\ in its name",
        )
    return path


def check_parent(path: str | os.PathLike) -> None:
    """Raises ConfigError if the directory that a file is to be written in does not exist."""
    if not expand(path).resolve().parent.is_dir():
        raise errors.ConfigError(f"{os.fspath(path)}: no such directory", "create it first")


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Turns an error while something is written at `path` into a StorageError."""
    try:
        yield
    except Exception as error:
        if not _is_from_storage(error):
            raise
        # An OSError's own text repeats a path, or has none; TensorFlow's names its node first.
        cause = getattr(error, "strerror", None) or str(error).splitlines()[0]
        cause = re.sub(r"{{.*?}} *", "", cause)
        raise errors.StorageError(
            f"cannot write {os.fspath(path)}: {cause}; what was written before is intact",
            "free some space or restore the directory, then run the same command again",
        ) from error


def _is_from_storage(error: Exception) -> bool:
    tensorflow = sys.modules.get("tensorflow")  # if it is not imported, it has raised nothing
    return isinstance(error, OSError) or (
        tensorflow is not None and isinstance(error, tensorflow.errors.OpError)
    )


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Opens a temporary file that replaces `path` when the block ends without an error.

    Raises:
      StorageError: if it cannot be written; `path` is as it was.
    """
    path = expand(path)
    unfinished = path.with_name(path.name + UNFINISHED)
    with writing(path):
        try:
            with unfinished.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                unfinished.unlink()  # a full disk needs the space
            raise


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file whole or not at all; raises StorageError if it cannot."""
    with atomic_file(path) as file:
        file.write(text.encode())


def append(path: str | os.PathLike, text: str) -> None:
    """Appends whole lines to a text file; removes a truncated last line before.

    Raises:
      StorageError: if it cannot be written.
    """
    path = expand(path)
    with writing(path):
        drop_truncated_line(path)
        with path.open("a", encoding="utf-8", newline="") as file:
            file.write(text)


def drop_truncated_line(path: pathlib.Path) -> None:
    """Removes what follows the last line break of a file: left by a kill or a full disk."""
    if path.exists():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)


def json_lines(path: pathlib.Path) -> list[dict]:
    """Returns the objects of a file, one per line, without truncated lines; [] without a file."""
    lines = []
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            if isinstance(found := json.loads(line), dict):
                lines.append(found)
    return lines


def remove_unfinished(directory: str | os.PathLike) -> None:
    """Deletes files in a directory that a killed process did not finish."""
    for path in pathlib.Path(directory).glob(f"*{UNFINISHED}"):
        path.unlink()
