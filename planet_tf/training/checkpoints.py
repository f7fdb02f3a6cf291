"""Checkpoints that are restored completely or not at all."""

import json
import os
import pathlib
import shutil
import sys
from collections.abc import Collection
from typing import Literal, NamedTuple

import tensorflow as tf

from planet_tf import errors, storage

Which = int | Literal["best"] | None
"""A checkpoint: its number of episodes, 'best' for the one with the best evaluation, None for the
newest."""

_EVALUATED = "evaluated"  # prefix of copies of checkpoints


class _Best(NamedTuple):
    episodes: int
    mean_return: float


class Checkpoints:
    """Saves and strictly restores trackable objects in a directory.

    Args:
      directory: where the checkpoints are; made if it is missing.
      keep: newest checkpoints kept, besides the best one.
      **objects: modules, optimizers, metrics and variables by name.
    """

    def __init__(self, directory: str | os.PathLike, keep: int = 2, **objects):
        self._directory, self._keep = pathlib.Path(directory), keep
        self._checkpoint = tf.train.Checkpoint(**objects)
        self._best_file = self._directory / "best.json"
        self._best = self._saved_best = self._read_best()
        # Copies that are up to date: others are of another process, which evaluated other weights.
        self._copied = {self._best.episodes} if self._best and self._has_copy_of_best() else set()
        self._pending: set[int] = set()

    def evaluated(self, number: int, mean_return: float) -> bool:
        """Takes the score of a checkpoint, which may still have to be saved.

        The best one is kept; of equal ones the last, which was trained for longer.

        Returns:
          whether it is the best so far.
        """
        if number not in self._pending:  # it is evaluated as it will be saved
            self._copied.discard(number)
        if self._best and mean_return < self._best.mean_return:
            return False
        self._best = _Best(number, mean_return)
        return True

    def save(self, number: int, pending: Collection[int] = ()) -> None:
        """Saves all objects under a number; checkpoints of higher numbers are deleted.

        Numbers increase, but a run that lost its last episodes goes on from a lower one.

        Args:
          number: of episodes.
          pending: numbers of checkpoints that are kept because they are still being evaluated.

        Raises:
          StorageError: if it cannot be written; the previous ones are intact.
        """
        with storage.writing(self._directory):
            self._directory.mkdir(parents=True, exist_ok=True)
            if self._best and self._best.episodes > number:
                self._best = None
            # Both, until the new one is copied: the process may be killed at any time.
            self._write_best(self._saved_best, self._best)
            if self._best and self._best is self._saved_best:
                self._copy(self._best.episodes)
            self._checkpoint.save_counter.assign(number - 1)  # it names the file
            self._checkpoint.save(os.fspath(self._directory / "ckpt"))
            self._pending = set(pending)
            evaluated = self._pending | ({self._best.episodes} if self._best else set())
            if number in evaluated:
                self._copy(number)
            self._write_best(self._best)
            self._saved_best = self._best
            self._remove_leftovers(number, evaluated)

    def _read_best(self) -> _Best | None:
        """Returns the last best one of the file whose checkpoint has been written."""
        found = [
            _Best(line["episodes"], line["mean_return"])
            for line in storage.json_lines(self._best_file)
            if line.keys() == set(_Best._fields)
        ]
        return next((best for best in reversed(found) if self._path_of(best.episodes)), None)

    def _write_best(self, *found: _Best | None) -> None:
        lines = [json.dumps(best._asdict()) for best in dict.fromkeys(found) if best]
        if lines:
            storage.write_text(self._best_file, "\n".join(lines) + "\n")
        else:
            self._best_file.unlink(missing_ok=True)

    def _has_copy_of_best(self) -> bool:
        return _EVALUATED in pathlib.Path(self._best_path()).name

    def _path_of(self, number: int) -> str | None:
        """Returns the path of an evaluated checkpoint: of its copy, if there is one."""
        for name in (_EVALUATED, "ckpt"):
            path = self._directory / f"{name}-{number}"
            if path.with_name(f"{path.name}.index").exists():
                return os.fspath(path)
        return None

    def _copy(self, number: int) -> None:
        """Copies a checkpoint, unless there is a copy: a stop in the next fit overwrites it."""
        if number in self._copied or not (self._directory / f"ckpt-{number}.index").exists():
            return
        (self._directory / f"{_EVALUATED}-{number}.index").unlink(missing_ok=True)
        for path in sorted(self._directory.glob(f"ckpt-{number}.*")):  # the index last
            copy = path.with_name(path.name.replace("ckpt", _EVALUATED))
            with storage.atomic_file(copy) as file:
                file.write(path.read_bytes())
        self._copied.add(number)

    def _remove_leftovers(self, last: int, evaluated: Collection[int]) -> None:
        """Deletes all but the newest checkpoints up to a number, unfinished ones among them.

        Copies are kept of those that are named.
        """
        paths = [path for path in self._newest_first() if _number(path) <= last]
        kept = {pathlib.Path(path).name for path in paths[: self._keep]}
        kept |= {f"{_EVALUATED}-{number}" for number in evaluated}
        for path in [*self._directory.glob("ckpt-*"), *self._directory.glob(f"{_EVALUATED}-*")]:
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name.split(".")[0] not in kept:
                path.unlink()

    def restore(self, number: Which = None, partly: bool = False) -> int | None:
        """Restores the newest checkpoint that can be read; reports those that cannot.

        Args:
          number: which one to restore instead of the newest.
          partly: whether there may be more in the checkpoint than is restored.

        Returns:
          Its number, or None if there is none.

        Raises:
          ConfigError: if the checkpoint and the objects differ in a variable's shape or presence,
            or if there are checkpoints but none can be read.
        """
        unreadable, paths = [], self._newest_first()
        hint = "move them away to train from the episodes again"
        if number == "best":
            paths = [self._best_path()]
            hint = "the run may have found a better one: try again, or leave out --checkpoint"
        elif number is not None:
            numbers = [_number(path) for path in paths]
            if number not in numbers:
                raise errors.ConfigError(
                    f"{self._directory} has no checkpoint {number}, only {numbers}",
                    setting="--checkpoint",
                )
            paths = [paths[numbers.index(number)]]
        for path in paths:
            try:
                _read_through(path)
            except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
                unreadable.append(
                    f"checkpoint {path} cannot be read ({str(error).splitlines()[0]})"
                )
                continue
            for line in unreadable:
                print(f"{line}: using {path} instead", file=sys.stderr)
            self._restore_strictly(path, partly)
            return _number(path)
        if unreadable:
            raise errors.ConfigError("; ".join(unreadable), hint)
        return None

    def _best_path(self) -> str:
        path = self._path_of(self._best.episodes) if self._best else None
        if path is None:
            raise errors.ConfigError(
                f"{self._directory} has no best checkpoint yet",
                "a run knows it after its first evaluation",
                "--checkpoint",
            )
        return path

    def _newest_first(self) -> list[str]:
        """Finds the files: the list that TensorFlow keeps of them may be truncated too."""
        files = self._directory.glob("ckpt-*.index")
        paths = [os.fspath(file.with_suffix("")) for file in files]
        return sorted(paths, key=_number, reverse=True)

    def _restore_strictly(self, path: str, partly: bool) -> None:
        status = None
        try:
            status = self._checkpoint.restore(path)
            status.assert_existing_objects_matched()
            if partly:
                status.expect_partial()
            else:
                status.assert_consumed()
        except (ValueError, AssertionError) as error:
            if status is not None:
                status.expect_partial()  # or TensorFlow also warns about each value
            raise errors.ConfigError(
                f"checkpoint {path} does not fit: {error}",
                "use the gin settings of the run that wrote it (config.gin in the run's "
                "directory) and its version of planet_tf (processes.jsonl names the commit), or "
                "name another directory",
            ) from error


def _number(path: str) -> int:
    return int(path.rsplit("-", 1)[1])


def _read_through(path: str) -> None:
    """Reads all of a checkpoint, which checks its checksums."""
    reader = tf.train.load_checkpoint(path)
    for name in reader.get_variable_to_shape_map():
        reader.get_tensor(name)
