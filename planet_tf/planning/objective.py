"""What planners maximise: the return that a world model imagines."""

import dataclasses

import tensorflow as tf

from planet_tf import checks
from planet_tf.planning.planner import Score
from planet_tf.seeds import RowSeeds


@checks.configurable()
@dataclasses.dataclass(frozen=True)
class ImaginedReturn:
    """Scores candidates by the undiscounted sum of the rewards that a model predicts for them.

    Args:
      sample_per_candidate: whether every candidate starts from a posterior sample of its own (the
        paper's choice) instead of one sample that all share (the release's).
      shared_noise: whether the candidates of an iteration share the prior's noise along the way
        (common random numbers), instead of each drawing its own (the release's choice). With one
        start for all, their scores then differ by their actions alone.
    """

    sample_per_candidate: bool = False
    shared_noise: bool = False

    def score_from(self, model, state, posterior) -> Score:
        """Returns the score of candidates that start from a latent state.

        Args:
          model: has `imagined_return` and `cell`, as `models.WorldModel`.
          state: the latent state, parts [B, ...].
          posterior: the distribution that its stoch was drawn from; None if nothing is drawn.
        """

        def score(candidates: tf.Tensor, seeds: RowSeeds) -> tf.Tensor:
            count, horizon, action_size = candidates.shape[1:]
            rollout_seeds, start_seeds = seeds.split(2)
            starts = {key: tf.repeat(value, count, 0) for key, value in state.items()}
            size = model.cell.stoch_size
            if self.sample_per_candidate and posterior is not None:
                noise = start_seeds.normal([count, size])
                normal = posterior.distribution
                stoch = normal.loc[:, None] + normal.scale[:, None] * noise
                starts["stoch"] = tf.reshape(stoch, [-1, size])
            if self.shared_noise:
                noise = tf.repeat(rollout_seeds.normal([horizon, size]), count, 0)
            else:
                noise = rollout_seeds.normal([count, horizon, size])
                noise = tf.reshape(noise, [-1, horizon, size])
            actions = tf.reshape(candidates, [-1, horizon, action_size])
            returns = model.imagined_return(starts, actions, noise)
            return tf.reshape(returns, [-1, count])

        return score
