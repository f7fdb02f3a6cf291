"""Noise that is added to actions while collecting experience."""

import abc
import dataclasses
from typing import ClassVar

import tensorflow as tf

from planet_tf import checks
from planet_tf.planning import clip
from planet_tf.seeds import RowSeeds


class Exploration(abc.ABC):
    """Noise of the collect policy.

    Attributes:
      discrete: whether it is for one-hot actions.
    """

    discrete: ClassVar[bool] = False

    @abc.abstractmethod
    def __call__(self, action: tf.Tensor, seeds: RowSeeds, updates: tf.Tensor) -> tf.Tensor:
        """Returns the actions to execute, float32 [B, A].

        Args:
          action: as planned, float32 [B, A] in [-1, 1], or one-hot; NaN must stay NaN.
          seeds: draw all randomness, for each row apart.
          updates: int64 [], that the agent was trained for.
        """


@checks.configurable()
@dataclasses.dataclass(frozen=True)
class GaussianNoise(Exploration):
    """Adds Normal(0, std) to actions and clips them to [-1, 1].

    Args:
      std: standard deviation (release: 0.3).
      final_std: the standard deviation after `updates` updates, reached linearly; None: it stays.
      updates: updates until `final_std` is reached.
    """

    std: checks.NonNegative = 0.3
    final_std: checks.NonNegative | None = None
    updates: checks.Count = 100_000

    def std_at(self, updates: tf.Tensor) -> tf.Tensor | float:
        """Returns the standard deviation after a number of updates."""
        return _scheduled(self.std, self.final_std, self.updates, updates)

    def __call__(self, action: tf.Tensor, seeds: RowSeeds, updates: tf.Tensor) -> tf.Tensor:
        """Returns noisy actions, float32 [B, A]; action: float32 [B, A]."""
        noise = self.std_at(updates) * seeds.normal(action.shape[1:])
        return clip(action + noise)


@checks.configurable()
@dataclasses.dataclass(frozen=True)
class EpsilonGreedy(Exploration):
    """Takes a uniformly random choice with a probability; for discrete actions.

    Args:
      epsilon: the probability.
      final_epsilon: the probability after `updates` updates, reached linearly; None: it stays.
      updates: updates until `final_epsilon` is reached.
    """

    discrete: ClassVar[bool] = True

    epsilon: checks.Probability = 0.3
    final_epsilon: checks.Probability | None = None
    updates: checks.Count = 100_000

    def epsilon_at(self, updates: tf.Tensor) -> tf.Tensor | float:
        """Returns the probability after a number of updates."""
        return _scheduled(self.epsilon, self.final_epsilon, self.updates, updates)

    def __call__(self, action: tf.Tensor, seeds: RowSeeds, updates: tf.Tensor) -> tf.Tensor:
        """Returns one-hot actions, float32 [B, A]; action: the same."""
        count = action.shape[-1]
        when, which = tf.unstack(seeds.uniform([2]), axis=1)
        drawn = tf.one_hot(tf.cast(which * count, tf.int32), count)
        explores = (when < self.epsilon_at(updates))[:, None]
        # An action that could not be planned stays NaN, and is noticed.
        return tf.where(explores & tf.math.is_finite(action), drawn, action)


def _scheduled(start: float, final: float | None, over: int, updates: tf.Tensor):
    """Returns a value that moves linearly from `start` to `final` over so many updates."""
    if final is None:
        return start
    done = tf.minimum(tf.cast(updates, tf.float32) / over, 1.0)
    return start + (final - start) * done
