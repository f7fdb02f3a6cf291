"""Model predictive path integral control, in the form of TD-MPC2 (Hansen et al. 2024).

Of J candidates the K best are weighted by their scores, relative to the best one's:

    weight_k = exp(temperature (score_k - max score)) / sum
    mean = sum_k weight_k candidate_k
    std = sqrt(sum_k weight_k (candidate_k - mean)^2), kept in [min_std, max_std]

One elite, drawn with these weights, is executed. The next decision starts from the mean, one step
ahead, and max_std.
"""

import dataclasses

import tensorflow as tf

from planet_tf import checks, errors
from planet_tf.planning import elites, planner
from planet_tf.planning.elites import Elites
from planet_tf.seeds import RowSeeds


@checks.configurable()
@dataclasses.dataclass(frozen=True)
class MPPI(planner.Planner):
    """Fits a diagonal Gaussian to score-weighted samples.

    The defaults are TD-MPC2's, but for the horizon.

    TD-MPC2 plans 3 steps and lets a value function see further; here all is in the horizon. It also
    adds candidates of a learned policy, which PlaNet does not have.

    Args:
      horizon: H, in agent steps.
      candidates: J, sequences sampled per iteration.
      elites: K, best candidates that the Gaussian is fitted to.
      iterations: I.
      temperature: how sharply the weights prefer high scores, per unit of return.
      min_std, max_std: limits of the standard deviation; the first iteration has max_std.

    Raises:
      ConfigError: if there are more elites than candidates, or min_std exceeds max_std.
    """

    horizon: checks.Count = 12
    candidates: checks.Count = 512
    elites: checks.Count = 64
    iterations: checks.Count = 6
    temperature: checks.Positive = 0.5
    min_std: checks.Positive = 0.05
    max_std: checks.Positive = 2.0

    def __post_init__(self):
        elites.check_count("MPPI", self.elites, self.candidates)
        if self.min_std > self.max_std:
            raise errors.ConfigError(
                f"MPPI.min_std ({self.min_std}) must not exceed MPPI.max_std ({self.max_std})",
                setting="MPPI.min_std",
            )

    @property
    def evaluations(self):
        """Action sequences that a decision scores, I x J."""
        return self.iterations * self.candidates

    def state_spec(self, action_size):
        """Returns the last mean, [H, A]; see `Planner.state_spec`."""
        return {"mean": tf.TensorSpec([self.horizon, action_size], tf.float32, "mean")}

    def plan(self, score, seeds, action_size, state):
        """Returns one elite of the last iteration; see `Planner.plan`."""

        def improve(i, mean, std, _):
            sample_seeds, score_seeds, choice_seeds = seeds.fold_in(i).split(3)
            noise = sample_seeds.normal([self.candidates, self.horizon, action_size])
            candidates = planner.clip(mean[:, None] + std[:, None] * noise)
            best = self.weigh(candidates, score(candidates, score_seeds))
            mean = best.mean()
            std = tf.clip_by_value(best.std(mean), self.min_std, self.max_std)
            return mean, std, draw(best, choice_seeds)

        mean = planner.shift(state["mean"])
        std = self.max_std * tf.ones_like(mean)
        mean, std, drawn = planner.repeat(self.iterations, improve, mean, std, mean)
        # No finite score: NaN, like the mean.
        return planner.Plan(tf.where(tf.math.is_nan(mean), mean, drawn), std, {"mean": mean})

    def weigh(self, candidates: tf.Tensor, scores: tf.Tensor) -> Elites:
        """Returns the best candidates, weighted by their scores: by 1 for the best."""
        best = elites.select(candidates, scores, self.elites)
        off = best.scores - tf.reduce_max(best.scores, 1, keepdims=True)
        return best._replace(weights=tf.exp(self.temperature * off)[:, :, None, None])


def draw(best: Elites, seeds: RowSeeds) -> tf.Tensor:
    """Draws one elite of each row with the probabilities of its weights, float32 [B, H, A]."""
    count = best.actions.shape[1]
    gumbel = -tf.math.log(-tf.math.log(seeds.uniform([count])))
    picks = tf.argmax(tf.math.log(best.weights[:, :, 0, 0]) + gumbel, 1)
    return tf.gather(best.actions, picks, batch_dims=1)
