"""The improved cross-entropy method, iCEM (Pinneri et al. 2020, algorithm 1).

What it adds to CEM: noise that is correlated in time; fewer candidates in later iterations; elites
that are kept, from iteration to iteration and from decision to decision; momentum; and the best
sequence is executed instead of the mean.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from planet_tf import checks
from planet_tf.planning import elites, planner
from planet_tf.seeds import RowSeeds


@checks.configurable()
@dataclasses.dataclass(frozen=True)
class ICEM(planner.Planner):
    """Fits a Gaussian with coloured noise to the best sequences, old and new.

    Args:
      horizon: H, in agent steps.
      candidates: N, sequences sampled in the first iteration.
      elites: K, best candidates that the Gaussian is fitted to.
      iterations: I.
      decay: gamma; iteration i samples max(N gamma^-i, 2 K) sequences, but at most N.
      colour: beta; the noise of each action component has the power spectrum 1 / frequency^beta. 0
        is white noise, CEM's; 2 is a random walk's.
      keep: xi, the fraction of elites that compete again in the next iteration, and in the next
        decision, one step ahead.
      momentum: alpha, the share of the old mean and std in the new ones.
      std: every decision starts from it, and from the last mean, one step ahead.

    Raises:
      ConfigError: if there are more elites than candidates.
    """

    horizon: checks.Count = 12
    candidates: checks.Count = 1000
    elites: checks.Count = 100
    iterations: checks.Count = 10
    decay: checks.AtLeastOne = 1.25
    colour: checks.NonNegative = 2.0
    keep: checks.Fraction = 0.3
    momentum: checks.Fraction = 0.1
    std: checks.Positive = 0.5

    def __post_init__(self):
        elites.check_count("ICEM", self.elites, self.candidates)

    @property
    def evaluations(self):
        """Action sequences that a decision scores: sampled ones, kept ones, and the mean."""
        sampled = sum(map(self.population, range(self.iterations)))
        return sampled + self.iterations * self.kept + 1

    @property
    def kept(self) -> int:
        """Elites that compete again."""
        return round(self.keep * self.elites)

    def population(self, iteration: int) -> int:
        """Returns the number of sequences that an iteration samples."""
        decayed = int(self.candidates * self.decay**-iteration)
        return min(max(decayed, 2 * self.elites), self.candidates)

    def state_spec(self, action_size):
        """Returns the last mean, [H, A], and the kept elites, [kept, H, A]."""
        plan = [self.horizon, action_size]
        return {
            "mean": tf.TensorSpec(plan, tf.float32, "mean"),
            "elites": tf.TensorSpec([self.kept, *plan], tf.float32, "elites"),
        }

    def plan(self, score, seeds, action_size, state):
        """Returns the best sequence of the last iteration; see `Planner.plan`."""
        mean = tf.concat([state["mean"][:, 1:], state["mean"][:, -1:]], 1)
        std = self.std * tf.ones_like(mean)
        kept = self.reused(state["elites"], mean, std, seeds.fold_in(self.iterations))
        colour = coloured(self.horizon, self.colour)
        for i in range(self.iterations):  # not a graph loop: the populations differ
            sample_seeds, score_seeds = seeds.fold_in(i).split(2)
            white = sample_seeds.normal([self.population(i), self.horizon, action_size])
            noise = tf.einsum("hk,bjka->bjha", colour, white)
            candidates = [planner.clip(mean[:, None] + std[:, None] * noise), kept]
            if i == self.iterations - 1:
                candidates.append(mean[:, None])
            candidates = tf.concat(candidates, 1)
            best = elites.select(
                candidates, score(candidates, score_seeds), self.elites, ranked=True
            )
            kept = best.actions[:, : self.kept]
            fitted = best.mean()
            mean = self.momentum * mean + (1 - self.momentum) * fitted
            std = self.momentum * std + (1 - self.momentum) * best.std(fitted)
        # No finite score: NaN, like the mean.
        actions = tf.where(tf.math.is_nan(mean), mean, best.actions[:, 0])
        return planner.Plan(actions, std, {"mean": mean, "elites": kept})

    def reused(self, last, mean, std, seeds: RowSeeds) -> tf.Tensor:
        """Returns the last decision's elites one step ahead, float32 [B, kept, H, A].

        Their new last actions are sampled. In an episode's first decision all is sampled.
        """
        noise = seeds.normal([self.kept, *mean.shape[1:]])
        samples = planner.clip(mean[:, None] + std[:, None] * noise)
        ahead = tf.concat([last[:, :, 1:], samples[:, :, -1:]], 2)
        return tf.where(tf.reduce_any(last != 0, [1, 2, 3], keepdims=True), ahead, samples)


def coloured(horizon: int, beta: float) -> np.ndarray:
    """Returns the float32 [H, H] that turns white noise over H steps into coloured noise.

    The result has variance 1, and the power spectrum 1 / frequency^beta; the frequency 0 counts as
    the lowest other one, 1 / H.
    """
    frequencies = np.maximum(np.fft.rfftfreq(horizon), 1 / horizon)
    amplitudes = frequencies ** (-beta / 2)
    spectrum = np.fft.rfft(np.eye(horizon), axis=0) * amplitudes[:, None]
    matrix = np.fft.irfft(spectrum, horizon, axis=0)
    matrix /= np.sqrt(np.square(matrix).sum(1, keepdims=True))
    return matrix.astype(np.float32)
