"""Training: Algorithm 1, the run that it acts on, and what a run leaves behind."""

import contextlib
import os
from collections.abc import Iterator

import tensorflow as tf

from planet_tf import errors, runtime
from planet_tf.training import follower, interrupts, loop, replicas
from planet_tf.training.exported import load_policy
from planet_tf.training.loading import load, load_agent
from planet_tf.training.run import Run
from planet_tf.training.settings import Settings


def train(root_dir: str | os.PathLike, settings: Settings | None = None) -> None:
    """Trains an agent (paper algorithm 1); resumes the run in `root_dir`.

    Args:
      root_dir: the run's directory: checkpoints, episodes, tensorboard, scalars.jsonl, policy.
      settings: None: those that gin sets as train.NAME.

    Raises:
      ConfigError: if a setting cannot be used.
      NotFiniteError: if an observation, a reward, the loss, a gradient or a plan is NaN or
        infinite; the last checkpoint is good.
      EnvironmentFailure: if an environment fails 3 times in a row; after a checkpoint.
      StorageError: if the directory cannot be written to; what was in it is intact.
      MachineLost: if another machine of TF_CONFIG has ended; after a checkpoint.
      Interrupted: on Ctrl-C and SIGTERM, after a checkpoint.
    """
    with errors.as_config_errors():
        settings = Settings() if settings is None else settings
        runtime.choose_device(settings.device)
        # It comes before TensorFlow's first operation.
        strategy = replicas.strategy(settings, replicas.machines())
    if not replicas.leads():
        with interrupts.deferred(), replicas.lost_machines_named():
            return follower.follow(root_dir, settings, strategy)
    with (
        opened(root_dir, settings, strategy) as run,
        interrupts.deferred(),
        replicas.lost_machines_named(),
    ):
        loop.learn(run, settings)


@contextlib.contextmanager
def opened(
    root_dir: str | os.PathLike, settings: Settings, strategy: tf.distribute.Strategy | None = None
) -> Iterator[Run]:
    """Opens a run, resuming the one in the directory, and closes it; see `Run`.

    A checkpoint is written if it is interrupted, or its environment or another machine fails.

    Raises:
      ConfigError: if a setting cannot be used, or the directory is in use or holds another run;
        nothing has been written.
    """
    run = Run(root_dir, settings, strategy)
    try:
        yield run
        run.release_machines()
        run.report.finished(run.directory, run.tasks.names)
    except (errors.Interrupted, errors.EnvironmentFailure, errors.MachineLost):
        run.report.line(f"stopped at update {run.learner.updates}: writing a checkpoint")
        run.save()
        raise
    finally:
        run.close()


__all__ = ["Settings", "load", "load_agent", "load_policy", "opened", "train"]
