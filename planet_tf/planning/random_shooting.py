"""Random shooting: the best of J random action sequences (an experiment of the paper)."""

import dataclasses

import tensorflow as tf

from planet_tf import checks
from planet_tf.planning import elites, planner


@checks.configurable()
@dataclasses.dataclass(frozen=True)
class RandomShooting(planner.Planner):
    """Draws candidates once, from a standard normal clipped to [-1, 1], and takes the best one.

    Args:
      horizon: H, in agent steps.
      candidates: J, sequences sampled.
    """

    horizon: checks.Count = 12
    candidates: checks.Count = 1000

    @property
    def evaluations(self):
        """Action sequences that a decision scores, J."""
        return self.candidates

    def plan(self, score, seeds, action_size, state):
        """Returns the best candidate; see `Planner.plan`."""
        sample_seeds, score_seeds = seeds.split(2)
        noise = sample_seeds.normal([self.candidates, self.horizon, action_size])
        candidates = planner.clip(noise)
        best = elites.select(candidates, score(candidates, score_seeds), 1).mean()
        return planner.Plan(best, tf.zeros_like(best), {})
