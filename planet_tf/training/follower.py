"""Takes part in the updates of a run that another machine leads."""

import os
import pathlib
import sys
import time

import tensorflow as tf

from planet_tf import config, errors, run_files, storage
from planet_tf.experience import ReplayBuffer
from planet_tf.training import replicas
from planet_tf.training.checkpoints import Checkpoints
from planet_tf.training.learner import make_learner
from planet_tf.training.settings import Settings
from planet_tf.training.tasks import Tasks

PATIENCE = 120
"""Seconds that a shared directory may take to show the leader's episodes."""


def follow(
    root_dir: str | os.PathLike, settings: Settings, strategy: tf.distribute.Strategy
) -> None:
    """Takes the updates that the leader takes, on this machine's part of every batch.

    It reads the run's directory, which all machines share, and writes nothing there.

    Args:
      root_dir: the run's directory.
      settings: the leader's.
      strategy: of all machines.

    Raises:
      ConfigError: if a setting cannot be used, or differs from the leader's, or the directory is
        not the leader's.
    """
    root = storage.tensorflow_path(root_dir)
    with errors.as_config_errors():
        orders = replicas.Orders(strategy)
        tasks = Tasks(settings.task, 0, 1)
        tasks.close()
        identity = tasks.identity(settings.seed)
        learner = make_learner(identity, settings, strategy)
    Checkpoints(root / run_files.CHECKPOINTS, agent=learner.agent).restore(partly=True)
    print(f"following the first machine's run in {root}", file=sys.stderr)
    replay = None
    while True:
        episodes, updates, more = orders.receive()
        if not more:
            return
        if updates != learner.updates:
            raise errors.ConfigError(
                f"{root} holds a checkpoint of update {learner.updates}, but the first machine has "
                f"one of update {updates}",
                "all machines need the same --root_dir, on storage that they share",
            )
        if replay is None:  # not before: until now the leader was writing there
            folder = root / run_files.TRAIN_EPISODES
            replay = ReplayBuffer(learner.agent.training_data_spec, folder, read_only=True)
            _check_settings(root)
        _wait_for(replay, episodes)
        learner.fit(replay, more, lambda _: None)


def _check_settings(root: pathlib.Path) -> None:
    """Raises ConfigError if the settings are not those that the leader has written."""
    file = root / run_files.SETTINGS
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    if different := config.differences(text, config.in_use()):
        lines = [f"{name}: {change}" for name, change in different.items()]
        raise errors.ConfigError(
            "\n  ".join(["settings differ, the first machine's -> this machine's:", *lines]),
            "all machines need the same command",
        )


def _wait_for(replay: ReplayBuffer, episodes: int) -> None:
    """Waits until the directory shows all episodes: shared storage may be late."""
    deadline = time.monotonic() + PATIENCE
    while (shown := replay.refresh()) < episodes:
        if time.monotonic() > deadline:
            raise errors.ConfigError(
                f"the run's directory shows {shown} episodes, but the first machine has collected "
                f"{episodes}",
                "all machines need the same --root_dir, on storage that they share",
            )
        time.sleep(0.1)
