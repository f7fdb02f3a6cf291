"""Loss terms beside those of the bound: latent overshooting, global prior, heads."""

from typing import TYPE_CHECKING, NamedTuple

import tensorflow as tf

from planet_tf import seeds
from planet_tf.models import losses, recurrence

if TYPE_CHECKING:
    from planet_tf.models.world_model import Batch, WorldModel


class Chunks(NamedTuple):
    """A filtered batch: what the terms are computed from.

    Attributes:
      batch: see `world_model.Batch`.
      observation: what the encoder read and the decoder predicts, preprocessed (and shifted, where
        images are): float32 [B, L, *input_shape].
      observed: posterior, prior and states.
      feat: float32 [B, L, F].
      seed: int32 [2], of the update. A term that draws noise folds a number of its own into it; 1
        to 3 are taken.
    """

    batch: "Batch"
    observation: tf.Tensor
    observed: recurrence.Observed
    feat: tf.Tensor
    seed: tf.Tensor


def _overshooting(model: "WorldModel", chunks: Chunks) -> tf.Tensor:
    distance, size = model.overshooting_distance, model.cell.stoch_size

    def imagine(action, state):
        shape = tf.stack([tf.shape(action)[0], distance, size])
        noise = seeds.normal(shape, seeds.fold_in(chunks.seed, 3))
        noise = tf.ensure_shape(noise, [action.shape[0], distance, size])
        return model.cell.imagine(action, noise, state)[0]

    return losses.overshooting(
        chunks.observed.posterior,
        chunks.observed.states,
        chunks.batch["action"],
        chunks.batch["is_first"],
        imagine,
        distance,
        model.loss_weights.free_nats,
    )


def _global_prior(model: "WorldModel", chunks: Chunks) -> tf.Tensor:
    return tf.reduce_mean(losses.global_divergence(chunks.observed.posterior))


def _continuation(model: "WorldModel", chunks: Chunks) -> tf.Tensor:
    continues = tf.cast(chunks.batch["discount"] > 0, tf.float32)
    distribution = model.continuation.distribution(chunks.feat)
    return -tf.reduce_mean(distribution.log_prob(continues))


def _diagnosis(model: "WorldModel", chunks: Chunks) -> tf.Tensor:
    """Trains the head alone: the gradient stops at the features."""
    distribution = model.diagnosis.distribution(tf.stop_gradient(chunks.feat))
    return -tf.reduce_mean(distribution.log_prob(chunks.batch["state"]))


TERMS = {
    "overshooting": _overshooting,
    "global_prior": _global_prior,
    "continuation": _continuation,
    "state": _diagnosis,
}
"""The terms by name: what computes each, in nats."""
