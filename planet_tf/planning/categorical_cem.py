"""The cross-entropy method for discrete actions: probabilities instead of a Gaussian."""

import dataclasses

import tensorflow as tf

from planet_tf import checks
from planet_tf.planning import elites, planner
from planet_tf.seeds import RowSeeds


@checks.configurable()
@dataclasses.dataclass(frozen=True)
class CategoricalCEM(planner.Planner):
    """Iteratively refits a categorical distribution per step to the best of its samples.

    For actions that are one-hot vectors of A choices (Rubinstein 1999, for combinatorial
    optimization). Every decision starts from equal probabilities; the most probable first choice is
    executed. With one iteration and one elite it is random shooting.

    Args:
      horizon: H, in agent steps.
      candidates: J, sequences sampled per iteration.
      elites: K, best candidates that the probabilities are refitted to.
      iterations: I.
      smoothing: weight of the old probabilities in the refit; above 0, a choice that no elite has
        made is not lost.

    Raises:
      ConfigError: if there are more elites than candidates.
    """

    discrete = True

    horizon: checks.Count = 12
    candidates: checks.Count = 1000
    elites: checks.Count = 100
    iterations: checks.Count = 10
    smoothing: checks.Fraction = 0.3

    def __post_init__(self):
        elites.check_count("CategoricalCEM", self.elites, self.candidates)

    @property
    def evaluations(self):
        """Action sequences that a decision scores, I x J."""
        return self.iterations * self.candidates

    def plan(self, score, seeds, action_size, state):
        """Plans one-hot vectors; see `Planner.plan`. `std` is that of each component."""

        def improve(i, probabilities):
            sample_seeds, score_seeds = seeds.fold_in(i).split(2)
            candidates = self.sample(probabilities, sample_seeds)
            best = elites.select(candidates, score(candidates, score_seeds), self.elites)
            refitted = (1.0 - self.smoothing) * best.mean()
            return (refitted + self.smoothing * probabilities,)

        start = planner.constant(seeds, [self.horizon, action_size], 1.0 / action_size)
        (probabilities,) = planner.repeat(self.iterations, improve, start)
        std = tf.sqrt(probabilities * (1.0 - probabilities))
        return planner.Plan(planner.most_probable(probabilities), std, {})

    def sample(self, probabilities: tf.Tensor, seeds: RowSeeds) -> tf.Tensor:
        """Draws candidates, one-hot float32 [B, J, H, A], from probabilities [B, H, A]."""
        horizon, count = probabilities.shape[1:]
        drawn = seeds.uniform([self.candidates, horizon, 1])
        edges = tf.cumsum(probabilities, -1)[:, None, :, :-1]
        choice = tf.reduce_sum(tf.cast(drawn >= edges, tf.int32), -1)
        return tf.one_hot(choice, count)
