"""The terms of the variational bound (paper eq. 4; blog: Dynamics Learning), each in nats."""

import tensorflow as tf
from tensorflow_probability import distributions as tfd


def divergence(posterior: tfd.Distribution, prior: tfd.Distribution) -> tf.Tensor:
    """Returns KL(posterior || prior), float32 [B, L], summed over stoch."""
    return tfd.kl_divergence(posterior, prior)


def over_free_nats(kl: tf.Tensor, free_nats: float) -> tf.Tensor:
    """Returns max(0, kl - free_nats), element by element: clamp first, average afterwards.

    KLs of 1 and 7 nats with 3 free nats cost 0 and 4, on average 2 (a clamped mean would say 1).
    """
    return tf.maximum(0.0, kl - free_nats)


def negative_elbo(
    image_log_prob: tf.Tensor,
    reward_log_prob: tf.Tensor,
    kl: tf.Tensor,
    *,
    image_scale: float,
    reward_scale: float,
    kl_scale: float,
    free_nats: float,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Returns the loss and its terms.

        mean over B, L of [ -image_scale * log p(image) - reward_scale * log p(reward)
                            + kl_scale * max(0, KL(posterior || prior) - free_nats) ]

    Args:
      image_log_prob: float32 [B, L], summed over pixels.
      reward_log_prob: float32 [B, L].
      kl: float32 [B, L].
      image_scale, reward_scale, kl_scale: weights of the terms (release: 1, 10, 1).
      free_nats: divergence that costs nothing, per element (release: 3).

    Returns:
      The loss, a scalar, and the unweighted means of `image_loss`, `reward_loss`, `kl` and
      `kl_loss` (what is left of kl above the free nats), scalars in nats.
    """
    terms = {
        "image_loss": -tf.reduce_mean(image_log_prob),
        "reward_loss": -tf.reduce_mean(reward_log_prob),
        "kl": tf.reduce_mean(kl),
        "kl_loss": tf.reduce_mean(over_free_nats(kl, free_nats)),
    }
    loss = (
        image_scale * terms["image_loss"]
        + reward_scale * terms["reward_loss"]
        + kl_scale * terms["kl_loss"]
    )
    return loss, terms
