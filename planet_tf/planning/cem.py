"""The cross-entropy method (paper algorithm 2)."""

import dataclasses
from typing import Literal

import tensorflow as tf

from planet_tf import checks, errors
from planet_tf.planning import elites, planner
from planet_tf.seeds import RowSeeds


@checks.configurable()
@dataclasses.dataclass(frozen=True)
class CEM(planner.Planner):
    """Fits a diagonal Gaussian over action sequences to its best samples, again and again.

    Starts from mean 0 and std 1 at every decision. The defaults are the authors' release's.

    Args:
      horizon: H, in agent steps.
      candidates: J, sequences sampled per iteration.
      elites: K, best candidates that the Gaussian is refitted to.
      iterations: I.
      spread: 'std', or 'mean_abs' for the paper's sum |action - mean| / (K - 1).
      clip: whether candidates are clipped to [-1, 1] (the paper's are not).

    Raises:
      ConfigError: if there are more elites than candidates.
    """

    horizon: checks.Count = 12
    candidates: checks.Count = 1000
    elites: checks.Count = 100
    iterations: checks.Natural = 10
    spread: Literal["std", "mean_abs"] = "std"
    clip: bool = True

    def __post_init__(self):
        if self.elites > self.candidates:
            raise errors.ConfigError(
                f"CEM.elites ({self.elites}) must not exceed CEM.candidates ({self.candidates})",
                setting="CEM.elites",
            )

    def plan(self, score, seeds, action_size, state):
        """Runs algorithm 2; see `Planner.plan`."""

        def improve(i, mean, std):
            sample_seeds, score_seeds = seeds.fold_in(i).split(2)
            candidates = self.sample(mean, std, sample_seeds)
            return self.refit(candidates, score(candidates, score_seeds))

        mean, std = self.start(seeds, action_size)
        mean, std = planner.repeat(self.iterations, improve, mean, std)
        return planner.Plan(mean, std, {})

    def start(self, seeds: RowSeeds, action_size: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns mean 0 and std 1, float32 [B, H, A]."""
        rows = seeds.seeds.shape[0] or tf.shape(seeds.seeds)[0]
        mean = tf.zeros(tf.stack([rows, self.horizon, action_size]))
        mean = tf.ensure_shape(mean, [seeds.seeds.shape[0], self.horizon, action_size])
        return mean, tf.ones_like(mean)

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
