"""Checkpoints that are restored completely or not at all."""

import os
import pathlib
import shutil
import sys

import tensorflow as tf

from planet_tf import errors, storage


class Checkpoints:
    """Saves and strictly restores trackable objects in a directory.

    Args:
      directory: where the checkpoints are; made if it is missing.
      keep: newest checkpoints kept.
      **objects: modules, optimizers, metrics and variables by name.
    """

    def __init__(self, directory: str | os.PathLike, keep: int = 2, **objects):
        self._keep = keep
        self._checkpoint = tf.train.Checkpoint(**objects)
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, os.fspath(directory), max_to_keep=keep
        )

    def save(self, number: int) -> None:
        """Saves all objects under a number; checkpoints of higher numbers are deleted.

        Numbers increase, but a run that lost its last episodes goes on from a lower one.

        Raises:
          StorageError: if it cannot be written; the previous ones are intact.
        """
        with storage.writing(self._manager.directory):
            self._manager.save(checkpoint_number=number)
            self._remove_leftovers(number)

    def _remove_leftovers(self, last: int) -> None:
        """Deletes all but the newest checkpoints up to a number, unfinished ones among them."""
        paths = [path for path in self._newest_first() if _number(path) <= last]
        kept = {pathlib.Path(path).name for path in paths[: self._keep]}
        for path in pathlib.Path(self._manager.directory).glob("ckpt-*"):
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name.split(".")[0] not in kept:
                path.unlink()

    def restore(self, number: int | None = None, partly: bool = False) -> int | None:
        """Restores the newest checkpoint that can be read; reports those that cannot.

        Args:
          number: the number of the one to restore instead of the newest.
          partly: whether there may be more in the checkpoint than is restored.

        Returns:
          Its number, or None if there is none.

        Raises:
          ConfigError: if the checkpoint and the objects differ in a variable's shape or presence,
            or if there are checkpoints but none can be read.
        """
        unreadable, paths = [], self._newest_first()
        if number is not None:
            numbers = [_number(path) for path in paths]
            if number not in numbers:
                raise errors.ConfigError(
                    f"{self._manager.directory} has no checkpoint {number}, only {numbers}",
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
            raise errors.ConfigError(
                "; ".join(unreadable), "move them away to train from the episodes again"
            )
        return None

    def _newest_first(self) -> list[str]:
        """Finds the files: the list that TensorFlow keeps of them may be truncated too."""
        files = pathlib.Path(self._manager.directory).glob("ckpt-*.index")
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
                "directory), or name another --root_dir",
            ) from error


def _number(path: str) -> int:
    return int(path.rsplit("-", 1)[1])


def _read_through(path: str) -> None:
    """Reads all of a checkpoint, which checks its checksums."""
    reader = tf.train.load_checkpoint(path)
    for name in reader.get_variable_to_shape_map():
        reader.get_tensor(name)
