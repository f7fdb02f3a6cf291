"""A run's remote collectors."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from planet_tf.cluster.actor import Weights
from planet_tf.cluster.collectors import Pool
from planet_tf.experience import Episode
from planet_tf.run_files import Identity
from planet_tf.training import interrupts
from planet_tf.training.reporting import Counters
from planet_tf.training.settings import Settings


@contextlib.contextmanager
def started(
    settings: Settings, identity: Identity, report: Callable[[str], None]
) -> Iterator["Remote | None"]:
    """Starts `train.collectors` collectors, and ends them; None if that is 0.

    Raises:
      ConfigError: if Ray cannot be reached, or a collector cannot be made.
      Interrupted: on Ctrl-C and SIGTERM while they start.
    """
    if not settings.collectors:
        yield None
        return
    with contextlib.ExitStack() as parts:
        with interrupts.deferred():
            pool = Pool(settings.collectors, identity, report, interrupts.check)
            parts.callback(pool.close)
            interrupts.check()  # a signal after the pool's last check
        yield Remote(pool, settings.episodes)


class Remote:
    """Collects and evaluates with remote collectors.

    Attributes:
      evaluating_since: counters at the start of the evaluation in progress; empty: there is none.
    """

    def __init__(self, pool: Pool, episodes: int):
        """`episodes` is the number at which the run ends."""
        self._pool, self._wanted = pool, episodes
        self.evaluating_since: Counters = {}

    def episodes(self, agent, first: int, count: int) -> Iterator[tuple[Episode, float, int]]:
        """Yields the episodes first, ..., first + count - 1.

        Each comes with the mean time of its decisions in ms, and the age of its weights in updates.
        """
        newest = weights(agent)
        for found in self._pool.take(newest, first, count, self._wanted - first):
            yield found.episode, found.decision_ms, newest.updates - found.updates

    def evaluate(
        self, agent, sequences: Sequence[np.random.SeedSequence], counters: Counters
    ) -> None:
        """Begins an evaluation: an episode per seed, of the agent as it is now."""
        self._pool.evaluate(weights(agent), sequences)
        self.evaluating_since = counters

    def pop_evaluation(self, wait: bool) -> tuple[list[Episode], float, Counters] | None:
        """Returns an evaluation that is complete, once: episodes, ms per decision, counters.

        It waits for the run's last one, and for others if `wait`.
        """
        if not self.evaluating_since:
            return None
        is_last = self.evaluating_since["episodes"] >= self._wanted
        found = self._pool.pop_evaluation(wait or is_last)
        if not found:
            return None
        counters, self.evaluating_since = self.evaluating_since, {}
        decision_ms = float(np.mean([each.decision_ms for each in found]))
        return [each.episode for each in found], decision_ms, counters


def weights(agent) -> Weights:
    """Returns an agent's weights, to be sent to collectors."""
    values = [variable.numpy() for variable in agent.world_model.variables]
    return Weights(values, int(agent.train_step_counter.numpy()))
