"""The terms of the variational bound (paper eq. 4; blog: Dynamics Learning), each in nats."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from planet_tf.models import recurrence


class Weights(NamedTuple):
    """Weights of the bound's terms, and the divergence per element that costs nothing, in nats."""

    observation: float = 1.0
    reward: float = 10.0
    kl: float = 1.0
    free_nats: float = 3.0


def observed_divergence(observed: recurrence.Observed, balance: float = 1.0) -> tf.Tensor:
    """Returns KL(posterior || prior) of a filtered chunk, float32 [B, L]; 0 if nothing is drawn.

    The divergence pulls both distributions to each other. `balance` scales the prior's gradient (KL
    balancing, Hafner et al. 2021, DreamerV2; its 0.8 is 4 here): the prior learns to predict
    better, rather than the posterior to carry less.
    """
    if observed.posterior is None:
        return tf.zeros_like(next(iter(observed.states.values()))[..., 0])
    prior = observed.prior
    if balance != 1.0:
        prior = recurrence.gaussian(
            *(_scale_gradient(part, balance) for part in recurrence.mean_std(prior))
        )
    return tfd.kl_divergence(observed.posterior, prior)  # summed over stoch


def _scale_gradient(x: tf.Tensor, scale: float) -> tf.Tensor:
    still = tf.stop_gradient(x)
    return still + scale * (x - still)


def over_free_nats(kl: tf.Tensor, free_nats: float) -> tf.Tensor:
    """Returns max(0, kl - free_nats) per element: clamp first, average afterwards.

    KLs of 1 and 7 nats with 3 free nats cost 0 and 4, on average 2 (a clamped mean would say 1).
    """
    return tf.maximum(0.0, kl - free_nats)


def global_divergence(posterior: tfd.Distribution) -> tf.Tensor:
    """Returns KL(posterior || N(0, I)), float32 [B, L]: the paper's global prior."""
    mean = posterior.mean()
    return tfd.kl_divergence(posterior, recurrence.gaussian(tf.zeros_like(mean), 1.0))


def overshooting(
    posterior: tfd.Distribution,
    states: dict[str, tf.Tensor],
    action: tf.Tensor,
    is_first: tf.Tensor,
    imagine: Callable[[tf.Tensor, dict[str, tf.Tensor]], tfd.Distribution],
    distance: int,
    free_nats: float,
) -> tf.Tensor:
    """Returns the latent overshooting term (blog: Latent Overshooting; paper eq. 7), in nats.

    `distance` steps are imagined from every posterior state, in one batch. The term is the mean of
    max(0, KL(stop_gradient(posterior of t + d) || prior of d steps from t) - free_nats) over the
    pairs (t, d), d = 2..distance, whose steps t to t + d lie in one chunk and one episode.

    Args:
      posterior: batch shape [B, L], event shape [S].
      states: the posterior states, parts [B, L, ...].
      action: float32 [B, L, A]; action[:, t] led to step t.
      is_first: bool [B, L].
      imagine: (actions [B L, distance, A], states, parts [B L, ...]) -> the priors, batch shape
        [B L, distance].
      distance: D, at least 2.
      free_nats: divergence of a pair that costs nothing.

    Returns:
      A scalar; 0 if there is no pair.
    """
    length = action.shape[1]
    episode = tf.cumsum(tf.cast(is_first, tf.int32), 1)
    ahead = tf.range(length)[:, None] + tf.range(1, distance + 1)  # [L, D], the step t + d
    inside = ahead < length
    ahead = tf.minimum(ahead, length - 1)
    valid = inside & (tf.gather(episode, ahead, axis=1) == episode[..., None])  # [B, L, D]

    def gather(value, blank):
        """Takes the steps ahead, [B, L, D, ...]; where there is none, blank instead of NaN."""
        return tf.where(valid[..., None], tf.gather(value, ahead, axis=1), blank)

    def flat(value):
        return tf.reshape(value, [-1, *value.shape[2:]])

    starts = {key: flat(tf.where(valid[:, :, :1], value, 0.0)) for key, value in states.items()}
    prior = imagine(flat(gather(action, 0.0)), starts)
    mean, std = map(tf.stop_gradient, recurrence.mean_std(posterior))
    target = recurrence.gaussian(flat(gather(mean, 0.0)), flat(gather(std, 1.0)))
    pairs = tf.cast(flat(valid)[:, 1:], tf.float32)  # d = 1 is the bound's own divergence
    kl = over_free_nats(tfd.kl_divergence(target, prior)[:, 1:], free_nats)
    return tf.math.divide_no_nan(tf.reduce_sum(pairs * kl), tf.reduce_sum(pairs))


def negative_elbo(
    observation_log_prob: tf.Tensor,
    reward_log_prob: tf.Tensor,
    kl: tf.Tensor,
    weights: Weights,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Returns the loss and its terms.

        mean over B, L of [ - weights.observation * log p(observation)
                            - weights.reward * log p(reward)
                            + weights.kl * max(0, KL(posterior || prior) - free_nats) ]

    Args:
      observation_log_prob: float32 [B, L], summed over pixels or components.
      reward_log_prob: float32 [B, L].
      kl: float32 [B, L].
      weights: see `Weights`; the defaults are the release's.

    Returns:
      The loss, a scalar, and the unweighted means of `observation_loss`, `reward_loss`, `kl` and
      `kl_loss` (the part of kl above the free nats), scalars in nats.
    """
    terms = {
        "observation_loss": -tf.reduce_mean(observation_log_prob),
        "reward_loss": -tf.reduce_mean(reward_log_prob),
        "kl": tf.reduce_mean(kl),
        "kl_loss": tf.reduce_mean(over_free_nats(kl, weights.free_nats)),
    }
    loss = (
        weights.observation * terms["observation_loss"]
        + weights.reward * terms["reward_loss"]
        + weights.kl * terms["kl_loss"]
    )
    return loss, terms
