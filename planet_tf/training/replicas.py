"""The devices that share each update: the GPUs of one machine, or of those that TF_CONFIG names."""

import contextlib
import json
import os
from collections.abc import Iterator

import tensorflow as tf

from planet_tf import errors
from planet_tf.training.settings import Settings


def machines() -> int:
    """Returns how many machines train together.

    Raises:
      ConfigError: if TF_CONFIG cannot be used.
    """
    return len(_cluster()[0]) or 1


def leads() -> bool:
    """Whether this is the first machine, which collects and owns the run's directory."""
    return _cluster()[1] == 0


def strategy(settings: Settings) -> tf.distribute.Strategy:
    """Returns the strategy in whose scope an agent is made, to be updated on several devices.

    On one device it is TensorFlow's default strategy, which changes nothing. With several machines,
    call it before TensorFlow's first operation.

    Raises:
      ConfigError: if there are other devices than `train.replicas`, their number does not divide
        the batch, XLA is asked for or TF_CONFIG cannot be used.
    """
    count = settings.replicas
    total = count * machines()
    if settings.batch_size % total:
        raise errors.ConfigError(
            f"train.batch_size ({settings.batch_size}) must be a multiple of the {total} replicas "
            "that share it",
            setting="train.batch_size",
        )
    if total > 1 and settings.jit_compile:
        raise errors.ConfigError(
            f"train.jit_compile=True compiles updates for one device, but {total} replicas share "
            "them",
            "train.jit_compile = None compiles the policies alone",
            "train.jit_compile",
        )
    if machines() > 1:
        _check(count, tf.config.get_visible_devices("GPU") or ["cpu"], exactly=True)
        return tf.distribute.MultiWorkerMirroredStrategy()
    if count == 1:
        return tf.distribute.get_strategy()
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    _check(count, devices)
    return tf.distribute.MirroredStrategy([device.name for device in devices[:count]])


class Orders:
    """What the first machine tells the others before each fit, by a collective operation.

    On one machine nothing is sent.

    Args:
      strategy: of `strategy`.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self._several = machines() > 1

        def first_replicas(values):
            replica = tf.distribute.get_replica_context()
            told = tf.where(replica.replica_id_in_sync_group == 0, values, 0)
            return replica.all_reduce(tf.distribute.ReduceOp.SUM, told)

        def exchange(values):
            everywhere = strategy.run(first_replicas, (values,))
            return strategy.experimental_local_results(everywhere)[0]

        self._exchange = tf.function(exchange, autograph=False)

    def give(self, episodes: int, updates: int, more: int) -> None:
        """Tells the others to take `more` updates on the run's first `episodes` episodes.

        Args:
          episodes: how many the replay has ever held.
          updates: optimizer steps taken so far.
          more: 0: the run has ended.
        """
        if self._several:
            self._exchange(tf.constant([episodes, updates, more]))

    def receive(self) -> tuple[int, int, int]:
        """Waits for what `give` is called with on the first machine."""
        episodes, updates, more = self._exchange(tf.zeros([3], tf.int32)).numpy()
        return int(episodes), int(updates), int(more)


@contextlib.contextmanager
def losses_named() -> Iterator[None]:
    """Names the cause if a collective operation fails: another machine has ended."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.InternalError) as error:
        if machines() == 1:
            raise
        raise errors.MachineLost(
            "another machine of TF_CONFIG has ended",
            "the same command on all machines resumes the run",
        ) from error


def _check(count: int, devices: list, exactly: bool = False) -> None:
    if count > len(devices) or (exactly and count < len(devices)):
        raise errors.ConfigError(
            f"train.replicas is {count}, but TensorFlow finds {len(devices)} devices on this "
            f"machine: {', '.join(getattr(device, 'name', device) for device in devices)}",
            "CUDA_VISIBLE_DEVICES hides GPUs from it",
            "train.replicas",
        )


def _cluster() -> tuple[list[str], int]:
    """Returns the addresses in TF_CONFIG and which of them is this machine's; [] and 0 if unset."""
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return [], 0
    try:
        found = json.loads(text)
        workers, index = found["cluster"]["worker"], found["task"]["index"]
        if found["task"]["type"] != "worker" or not 0 <= index < len(workers):
            raise ValueError(f"its task is {found['task']}")
        return workers, index
    except (ValueError, TypeError, KeyError) as error:
        raise errors.ConfigError(
            f"TF_CONFIG cannot be used ({type(error).__name__}: {error}): {text}",
            'it names all machines and this one: {"cluster": {"worker": ["HOST:PORT", ...]}, '
            '"task": {"type": "worker", "index": 0}}',
        ) from error
