"""Files that a kill leaves whole or absent, and errors that name what could not be written."""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterator
from typing import BinaryIO

import tensorflow as tf

from planet_tf import paths

UNFINISHED = ".tmp"
"""Suffix of a file that is being written; what a kill leaves of one goes on the next start."""


class StorageError(OSError):
    """Something could not be written; the message names the path, the cause and the way out."""


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Turns what goes wrong while something is written at `path` into a StorageError."""
    try:
        yield
    except StorageError:
        raise
    except (OSError, tf.errors.OpError) as error:
        # An OSError's own text repeats a path, or has none; TensorFlow's names its node first.
        cause = getattr(error, "strerror", None) or str(error).splitlines()[0]
        cause = re.sub(r"{{.*?}} *", "", cause)
        raise StorageError(
            f"cannot write {os.fspath(path)}: {cause}; what was written before is as it "
            "was: make room or mend the directory, then the same command resumes the run"
        ) from error


@contextlib.contextmanager
def written_whole(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Gives a file to write to, which takes the place of `path` when all of it is on the disk.

    Raises:
      StorageError: if it cannot be written; `path` is as it was.
    """
    path = paths.expanded(path)
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
                unfinished.unlink()  # a full disk needs the room
            raise


def remove_unfinished(directory: str | os.PathLike) -> None:
    """Deletes what a kill left of files that were being written in a directory."""
    for path in pathlib.Path(directory).glob(f"*{UNFINISHED}"):
        path.unlink()
