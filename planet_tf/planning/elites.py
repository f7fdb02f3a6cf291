"""The best candidates, and their statistics; candidates without a finite score never count."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from planet_tf import errors


class Elites(NamedTuple):
    """The K best candidates of each decision.

    Attributes:
      actions: float32 [B, K, H, A].
      scores: float32 [B, K]; -inf for a score that is not finite.
      weights: float32 [B, K, 1, 1]; 0 for an action sequence whose score is not finite, else 1
        (MPPI has others).
    """

    actions: tf.Tensor
    scores: tf.Tensor
    weights: tf.Tensor

    @property
    def count(self) -> tf.Tensor:
        """Sum of the weights, float32 [B, 1, 1]; for CEM the number of finite scores."""
        return tf.reduce_sum(self.weights, 1)

    def mean(self) -> tf.Tensor:
        """Returns their mean, float32 [B, H, A]; NaN where no score is finite."""
        return tf.reduce_sum(self.weights * self.actions, 1) / self.count

    def std(self, mean: tf.Tensor) -> tf.Tensor:
        """Returns sqrt(population variance + 1e-6), as the authors' release has it."""
        squares = tf.square(self.actions - mean[:, None])
        return tf.sqrt(tf.reduce_sum(self.weights * squares, 1) / self.count + 1e-6)

    def mean_absolute_deviation(self, mean: tf.Tensor) -> tf.Tensor:
        """Returns sum |action - mean| / (K - 1), the paper's spread (algorithm 2)."""
        deviations = tf.abs(self.actions - mean[:, None])
        return tf.reduce_sum(self.weights * deviations, 1) / tf.maximum(self.count - 1, 1)


def check_count(planner: str, count: int, candidates: int) -> None:
    """Raises ConfigError if a planner has more elites than candidates."""
    if count > candidates:
        raise errors.ConfigError(
            f"{planner}.elites ({count}) must not exceed {planner}.candidates ({candidates})",
            setting=f"{planner}.elites",
        )


def select(candidates: tf.Tensor, scores: tf.Tensor, count: int, ranked: bool = False) -> Elites:
    """Returns the `count` candidates with the highest scores.

    Args:
      candidates: float32 [B, J, H, A].
      scores: float32 [B, J].
      count: K.
      ranked: whether the best comes first; else they are in any order.
    """
    scores = tf.where(tf.math.is_finite(scores), scores, -np.inf)
    best_scores, best = tf.math.top_k(scores, count, sorted=ranked)
    weights = tf.cast(tf.math.is_finite(best_scores), tf.float32)[:, :, None, None]
    return Elites(tf.gather(candidates, best, batch_dims=1), best_scores, weights)
