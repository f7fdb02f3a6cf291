"""Starts a run's remote collectors."""

from collections.abc import Callable

from planet_tf.cluster.collectors import Pool, Weights
from planet_tf.seeds import RunSeeds, Stream
from planet_tf.training import interrupts
from planet_tf.training.settings import Settings


def start(
    settings: Settings, identity: dict, seeds: RunSeeds, report: Callable[[str], None]
) -> Pool | None:
    """Starts `train.collectors` collectors; returns None if that is 0.

    Raises:
      ConfigError: if Ray cannot be reached, or a collector cannot be made.
    """
    if not settings.collectors:
        return None

    def sequence(number: int):
        return seeds.sequence(Stream.COLLECT, number)

    return Pool(settings.collectors, identity, sequence, report, interrupts.check)


def weights(agent, updates: int) -> Weights:
    """Returns an agent's weights, to be sent to collectors."""
    return Weights([variable.numpy() for variable in agent.world_model.variables], updates)
