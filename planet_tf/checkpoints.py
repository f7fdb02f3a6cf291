"""Checkpoints that are restored whole or not at all."""

import os

import tensorflow as tf


class Checkpoints:
    """Saves and strictly restores trackable objects in a directory.

    Args:
      directory: where the checkpoints are; made if it is missing.
      keep: newest checkpoints kept.
      **objects: what is saved, by name: modules, optimizers, metrics, variables.
    """

    def __init__(self, directory: str | os.PathLike, keep: int = 2, **objects):
        self._checkpoint = tf.train.Checkpoint(**objects)
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, os.fspath(directory), max_to_keep=keep
        )

    def save(self, number: int) -> None:
        """Saves all objects under a number that grows."""
        self._manager.save(checkpoint_number=number)

    def restore(self) -> int | None:
        """Restores the newest checkpoint; returns its number, or None if there is none.

        Raises:
          ValueError: if the checkpoint and the objects differ in a variable's shape or presence.
        """
        path = self._manager.latest_checkpoint
        if path is None:
            return None
        way_out = (
            "The gin settings differ from those of the run that wrote it: use the same ones (see "
            "config.gin in the run's directory), or name another --root_dir."
        )
        try:
            status = self._checkpoint.restore(path)
            status.assert_existing_objects_matched()
            status.assert_consumed()
        except (ValueError, AssertionError) as error:
            raise ValueError(f"checkpoint {path} does not fit: {error}\n{way_out}") from error
        return int(path.rsplit("-", 1)[1])
