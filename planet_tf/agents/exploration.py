"""Noise that is added to actions while collecting experience."""

import dataclasses

import tensorflow as tf

from planet_tf import checks
from planet_tf.planning import clip
from planet_tf.seeds import RowSeeds


@checks.configurable()
@dataclasses.dataclass(frozen=True)
class GaussianNoise:
    """Adds Normal(0, std) to actions and clips them to [-1, 1].

    Args:
      std: standard deviation (release: 0.3).
      final_std: the standard deviation after `updates` updates, reached linearly; None: it stays.
      updates: updates until `final_std` is reached.
    """

    std: checks.NonNegative = 0.3
    final_std: checks.NonNegative | None = None
    updates: checks.Count = 100_000

    def at(self, updates: int) -> "GaussianNoise":
        """Returns constant noise, as it is after a number of updates."""
        std = float(self.std_at(tf.constant(updates)))
        # All fields are given: gin would fill in the schedule again.
        return dataclasses.replace(self, std=std, final_std=None)

    def std_at(self, updates: tf.Tensor) -> tf.Tensor | float:
        """Returns the standard deviation after a number of updates."""
        if self.final_std is None:
            return self.std
        done = tf.minimum(tf.cast(updates, tf.float32) / self.updates, 1.0)
        return self.std + (self.final_std - self.std) * done

    def __call__(self, action: tf.Tensor, seeds: RowSeeds, updates: tf.Tensor) -> tf.Tensor:
        """Returns noisy actions, float32 [B, A]; action: float32 [B, A]."""
        noise = self.std_at(updates) * seeds.normal(action.shape[1:])
        return clip(action + noise)
