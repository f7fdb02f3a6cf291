"""The cross-entropy method (paper algorithm 2)."""

import dataclasses
from typing import Literal

import tensorflow as tf

from planet_tf import checks
from planet_tf.planning import elites, planner
from planet_tf.seeds import RowSeeds


@checks.configurable()
@dataclasses.dataclass(frozen=True)
class CEM(planner.Planner):
    """Iteratively refits a diagonal Gaussian over action sequences to its best samples.

    The defaults are the authors' release's: every decision starts from mean 0 and std 1.

    Args:
      horizon: H, in agent steps.
      candidates: J, sequences sampled per iteration.
      elites: K, best candidates that the Gaussian is refitted to.
      iterations: I.
      spread: 'std', or 'mean_abs' for the paper's sum |action - mean| / (K - 1).
      clip: whether candidates are clipped to [-1, 1] (the paper's are not).
      warm_start: starts from the last decision's mean, one step ahead, instead of 0.
      std: that every decision starts from.

    Raises:
      ConfigError: if there are more elites than candidates.
    """

    horizon: checks.Count = 12
    candidates: checks.Count = 1000
    elites: checks.Count = 100
    iterations: checks.Natural = 10
    spread: Literal["std", "mean_abs"] = "std"
    clip: bool = True
    warm_start: bool = False
    std: checks.Positive = 1.0

    def __post_init__(self):
        elites.check_count("CEM", self.elites, self.candidates)

    @property
    def evaluations(self):
        """Action sequences that a decision scores, I x J."""
        return self.iterations * self.candidates

    def state_spec(self, action_size):
        """Returns the last mean, [H, A], for a warm start; see `Planner.state_spec`."""
        if not self.warm_start:
            return {}
        return {"mean": tf.TensorSpec([self.horizon, action_size], tf.float32, "mean")}

    def plan(self, score, seeds, action_size, state):
        """Runs algorithm 2; see `Planner.plan`."""

        def improve(i, mean, std):
            sample_seeds, score_seeds = seeds.fold_in(i).split(2)
            candidates = self.sample(mean, std, sample_seeds)
            return self.refit(candidates, score(candidates, score_seeds))

        mean, std = self.start(seeds, action_size, state)
        mean, std = planner.repeat(self.iterations, improve, mean, std)
        return planner.Plan(mean, std, {"mean": mean} if self.warm_start else {})

    def start(self, seeds: RowSeeds, action_size: int, state) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the first mean and std, float32 [B, H, A]."""
        if self.warm_start:
            mean = planner.shift(state["mean"])
        else:
            mean = planner.constant(seeds, [self.horizon, action_size], 0.0)
        return mean, self.std * tf.ones_like(mean)

    def sample(self, mean: tf.Tensor, std: tf.Tensor, seeds: RowSeeds) -> tf.Tensor:
        """Draws candidates, float32 [B, J, H, A], from the Gaussian."""
        noise = seeds.normal([self.candidates, *mean.shape[1:]])
        actions = mean[:, None] + std[:, None] * noise
        return planner.clip(actions) if self.clip else actions

    def refit(self, candidates: tf.Tensor, scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns mean and spread, float32 [B, H, A], of the best candidates."""
        best = elites.select(candidates, scores, self.elites)
        mean = best.mean()
        spread = best.std if self.spread == "std" else best.mean_absolute_deviation
        return mean, spread(mean)
