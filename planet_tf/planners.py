"""Planning by the cross-entropy method: pure functions of a score, a noise source and shapes."""

from collections.abc import Callable

import gin
import numpy as np
import tensorflow as tf

Evaluate = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""(actions float32 [B, J, H, A], iteration int32) -> scores float32 [B, J], higher is better."""

Noise = Callable[[tuple[int, int, int], tf.Tensor], tf.Tensor]
"""((J, H, A), iteration int32) -> standard normals, float32 [B, J, H, A]."""


@gin.configurable(module="planet_tf", denylist=["evaluate", "noise", "batch_size", "action_size"])
def cem(
    evaluate: Evaluate,
    noise: Noise,
    batch_size: int | tf.Tensor,
    action_size: int,
    horizon: int = 12,
    candidates: int = 1000,
    elites: int = 100,
    iterations: int = 10,
    spread: str = "std",
    clip: bool = True,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Fits a diagonal Gaussian over action sequences to its best samples (paper algorithm 2).

    Starts from mean 0 and std 1 at every decision and, unless told otherwise, clips candidates to
    [-1, 1] and refits with the elites' mean and std = sqrt(population variance + 1e-6). A
    candidate whose score is not finite is never an elite; where no score is finite, the result is
    NaN. One iteration with one elite is random shooting; no iteration leaves mean 0.

    Args:
      evaluate: scores candidates; see `Evaluate`.
      noise: draws the candidates' noise; see `Noise`.
      batch_size: B, decisions planned at once, independently.
      action_size: A.
      horizon: H, in agent steps.
      candidates: J, sequences sampled in an iteration.
      elites: K, best candidates that the distribution is refitted to.
      iterations: I.
      spread: 'std', or 'mean_abs' for the paper's sum |action - mean| / (K - 1), without a floor.
      clip: whether candidates are clipped to [-1, 1] (the paper's are not).

    Returns:
      mean, std: float32 [B, H, A] of the last fit; mean[:, 0] is the action to take.

    Raises:
      ValueError: if a count is not positive (iterations: negative), there are more elites than
        candidates, or the spread is unknown.
    """
    counts = {"horizon": horizon, "candidates": candidates, "elites": elites}
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"cem.{name} must be at least 1, got {value}")
    if iterations < 0:
        raise ValueError(f"cem.iterations must not be negative, got {iterations}")
    if clip not in (True, False):
        raise ValueError(f"cem.clip must be True or False, got {clip!r}")
    if spread not in ("std", "mean_abs"):
        raise ValueError(f"cem.spread must be 'std' or 'mean_abs', got {spread!r}")
    if elites > candidates:
        raise ValueError(f"cem.elites ({elites}) must not exceed cem.candidates ({candidates})")

    def improve(i, mean, std):
        samples = noise((candidates, horizon, action_size), i)
        actions = mean[:, None] + std[:, None] * samples
        actions = tf.clip_by_value(actions, -1.0, 1.0) if clip else actions
        scores = evaluate(actions, i)
        # Clipping hides a NaN mean under XLA.
        usable = tf.math.is_finite(scores) & tf.math.is_finite(mean[:, 0, :1])
        scores = tf.where(usable, scores, -np.inf)
        best_scores, best = tf.math.top_k(scores, elites, sorted=False)
        elite_actions = tf.gather(actions, best, batch_dims=1)
        weights = tf.cast(tf.math.is_finite(best_scores), tf.float32)[:, :, None, None]
        count = tf.reduce_sum(weights, 1)  # K where all scores are finite
        mean = tf.reduce_sum(weights * elite_actions, 1) / count
        deviations = elite_actions - mean[:, None]
        std = tf.sqrt(tf.reduce_sum(weights * tf.square(deviations), 1) / count + 1e-6)
        if spread == "mean_abs":
            std = tf.reduce_sum(weights * tf.abs(deviations), 1) / tf.maximum(count - 1, 1)
        return i + 1, mean, std

    shape = tf.stack([batch_size, horizon, action_size])
    static = [batch_size if isinstance(batch_size, int) else None, horizon, action_size]
    _, mean, std = tf.while_loop(
        lambda i, *_: i < iterations,
        improve,
        (
            tf.constant(0),
            tf.ensure_shape(tf.zeros(shape), static),
            tf.ensure_shape(tf.ones(shape), static),
        ),
        parallel_iterations=1,
        maximum_iterations=iterations,
    )
    return mean, std
