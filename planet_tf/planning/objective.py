"""What planners maximise: the return that a world model imagines."""

import abc
import dataclasses
import itertools

import tensorflow as tf

from planet_tf import checks
from planet_tf.planning.planner import Score
from planet_tf.seeds import RowSeeds


class Objective(abc.ABC):
    """What planners maximise."""

    @abc.abstractmethod
    def score_from(self, model, state, posterior) -> Score:
        """Returns the score of candidates that start from a latent state.

        Args:
          model: a `models.WorldModel`.
          state: the latent state, parts [B, ...].
          posterior: the distribution that its stoch was drawn from; None if nothing is drawn.
        """


@checks.configurable()
@dataclasses.dataclass(frozen=True)
class ImaginedReturn(Objective):
    """Scores candidates by the undiscounted sum of the rewards that a model predicts for them.

    Where tasks terminate, each is weighted by the probability that the episode is still running.

    Args:
      sample_per_candidate: whether every candidate starts from a posterior sample of its own (the
        paper's choice) instead of one sample that all share (the release's).
      shared_noise: whether the candidates of an iteration share the prior's noise along the way
        (common random numbers), instead of each drawing its own (the release's choice). With one
        start for all, their scores then differ by their actions alone.
      parts: how many parts the candidates are imagined in, all at the same time. A CPU computes
        the matmuls of a few hundred candidates on one core, so that one part per core is faster
        there; on a GPU and under XLA, 1 is.
    """

    sample_per_candidate: bool = False
    shared_noise: bool = False
    parts: checks.Count = 1

    def score_from(self, model, state, posterior) -> Score:
        """Returns the imagined return as a score; see `Objective.score_from`."""

        def score(candidates: tf.Tensor, seeds: RowSeeds) -> tf.Tensor:
            count, horizon, _ = candidates.shape[1:]
            rollout_seeds, start_seeds = seeds.split(2)
            starts = {key: tf.repeat(value[:, None], count, 1) for key, value in state.items()}
            size = model.cell.stoch_size
            if self.sample_per_candidate and posterior is not None:
                noise = start_seeds.normal([count, size])
                normal = posterior.distribution
                starts["stoch"] = normal.loc[:, None] + normal.scale[:, None] * noise
            if self.shared_noise:
                noise = tf.repeat(rollout_seeds.normal([1, horizon, size]), count, 1)
            else:
                noise = rollout_seeds.normal([count, horizon, size])

            def imagine(first: int, last: int) -> tf.Tensor:
                def rows(value):  # [B, J, ...] -> [B * (last - first), ...]
                    return tf.reshape(value[:, first:last], [-1, *value.shape[2:]])

                rollout = tf.nest.map_structure(rows, (starts, candidates, noise))
                return tf.reshape(model.imagined_return(*rollout), [-1, last - first])

            edges = sorted({count * i // self.parts for i in range(self.parts + 1)})
            return tf.concat([imagine(*part) for part in itertools.pairwise(edges)], 1)

        return score
