"""The devices that share each update: the GPUs of one machine, or of those that TF_CONFIG names."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator

import tensorflow as tf

from planet_tf import errors
from planet_tf.training import interrupts
from planet_tf.training.settings import Settings


def machines() -> int:
    """Returns how many machines train together.

    Raises:
      ConfigError: if TF_CONFIG cannot be used.
    """
    return len(_cluster()[0]) or 1


def leads() -> bool:
    """Whether this is the first machine, which collects and owns the run's directory.

    Raises:
      ConfigError: if TF_CONFIG cannot be used.
    """
    return _cluster()[1] == 0


def strategy(settings: Settings, machines: int = 1) -> tf.distribute.Strategy:
    """Returns the strategy in whose scope an agent is made, to be updated on several devices.

    On one device it is TensorFlow's default strategy, which changes nothing.

    Args:
      settings: of the run.
      machines: how many train together. With several it waits until all have started, and must be
        called before TensorFlow's first operation.

    Raises:
      ConfigError: if there are other devices than `train.replicas`, their number does not divide
        the batch, XLA is asked for or TF_CONFIG cannot be used.
    """
    count = settings.replicas
    total = count * machines
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
    if machines > 1:
        return _across_machines(count)
    if count == 1:
        return tf.distribute.get_strategy()
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    names = [device.name for device in devices]
    _check(count, names)
    return tf.distribute.MirroredStrategy(names[:count])


class Orders:
    """What the first machine tells the others before each fit, by a collective operation.

    On one machine nothing is sent.

    Args:
      strategy: of `strategy`.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self._several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)

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
def lost_machines_named() -> Iterator[None]:
    """Turns the error of a collective operation into MachineLost, or into the signal before it."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.InternalError) as error:
        if machines() == 1:
            raise
        interrupts.check()  # all machines were asked to stop, and another one was faster
        raise errors.MachineLost(
            f"another machine of TF_CONFIG has ended: {_first_line(error)}",
            "the same command on all machines resumes the run",
        ) from error


def _across_machines(count: int) -> tf.distribute.Strategy:
    addresses, index = _cluster()
    gpus = [device.name for device in tf.config.get_visible_devices("GPU")]
    _check(count, gpus or ["cpu"], exactly=True)
    print(f"waiting for {len(addresses)} machines: {', '.join(addresses)}", file=sys.stderr)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.OpError as error:
        raise errors.ConfigError(
            f"this machine cannot take part as {addresses[index]}: {_first_line(error)}",
            "each entry of TF_CONFIG needs a free port of its machine",
        ) from error


def _first_line(error: tf.errors.OpError) -> str:
    return (error.message or type(error).__name__).splitlines()[0]


def _check(count: int, devices: list[str], exactly: bool = False) -> None:
    if count > len(devices) or (exactly and count < len(devices)):
        raise errors.ConfigError(
            f"train.replicas is {count}, but TensorFlow finds {len(devices)} devices on this "
            f"machine: {', '.join(devices)}",
            "CUDA_VISIBLE_DEVICES chooses GPUs",
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
        if not isinstance(workers, list) or len(found["cluster"]) > 1:
            raise ValueError("its cluster must be a list of workers alone")
        if found["task"]["type"] != "worker" or not 0 <= index < len(workers):
            raise ValueError(f"its task is {found['task']}")
        return workers, index
    except (ValueError, TypeError, KeyError) as error:
        raise errors.ConfigError(
            f"TF_CONFIG cannot be used ({type(error).__name__}: {error}): {text}",
            'it names all machines and this one: {"cluster": {"worker": ["HOST:PORT", ...]}, '
            '"task": {"type": "worker", "index": 0}}',
        ) from error
