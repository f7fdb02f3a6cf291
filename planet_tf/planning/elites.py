"""The best candidates, and their statistics; candidates without a finite score never count."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf


class Elites(NamedTuple):
    """The K best candidates of each decision.

    Attributes:
      actions: float32 [B, K, H, A], in any order.
      weights: float32 [B, K, 1, 1]; 0 for an action sequence whose score is not finite.
    """

    actions: tf.Tensor
    weights: tf.Tensor

    @property
    def count(self) -> tf.Tensor:
        """How many have a finite score, float32 [B, 1, 1]; K unless the model is broken."""
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


def select(candidates: tf.Tensor, scores: tf.Tensor, count: int) -> Elites:
    """Returns the `count` candidates with the highest scores.

    Args:
      candidates: float32 [B, J, H, A].
      scores: float32 [B, J].
      count: K.
    """
    scores = tf.where(tf.math.is_finite(scores), scores, -np.inf)
    best_scores, best = tf.math.top_k(scores, count, sorted=False)
    weights = tf.cast(tf.math.is_finite(best_scores), tf.float32)[:, :, None, None]
    return Elites(tf.gather(candidates, best, batch_dims=1), weights)
