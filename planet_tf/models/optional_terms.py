"""Loss terms that are off by default: open-loop rewards, overshooting, global prior and others."""

from collections.abc import Callable
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
      observed: posterior, prior and states.
      feat: float32 [B, L, F].
      seed: int32 [2], of the update.
    """

    batch: "Batch"
    observed: recurrence.Observed
    feat: tf.Tensor
    seed: tf.Tensor


class Term(NamedTuple):
    """One term: its name in TensorBoard, its weight, and what computes it, in nats."""

    name: str
    weight: float
    value: Callable[["WorldModel", Chunks], tf.Tensor]


def terms(
    open_loop_distance: int,
    open_loop_scale: float,
    overshooting_distance: int,
    overshooting_scale: float,
    global_prior_scale: float,
    continuation_scale: float,
    diagnoses: bool,
) -> list[Term]:
    """Returns the terms that are on; the arguments are those of `WorldModel`."""
    found = []
    if open_loop_distance:
        found.append(Term("open_loop_loss", open_loop_scale, _open_loop))
    if overshooting_distance > 1:
        found.append(Term("overshooting_loss", overshooting_scale, _overshooting))
    if global_prior_scale:
        found.append(Term("global_prior_loss", global_prior_scale, _global_prior))
    if continuation_scale:
        found.append(Term("continuation_loss", continuation_scale, _continuation))
    if diagnoses:
        found.append(Term("state_loss", 1.0, _diagnosis))
    return found


def _open_loop(model: "WorldModel", chunks: Chunks) -> tf.Tensor:
    """Returns -log p(reward), and -log p(continuation) if it is learned, as planning predicts them.

    The end of a chunk is cut into stretches of D steps, each imagined from the posterior state
    before it and the actions alone. The gradient goes through all D steps, and into that state.
    The mean is over the steps that lie in the episode of that state.
    """
    batch, distance = chunks.batch, model.open_loop_distance
    length = batch["action"].shape[1]
    before = range(length - 1 - distance, -1, -distance)

    def stretches(value):  # [B, L, ...] -> [len(before) * B, D, ...]
        return tf.concat([value[:, t + 1 : t + 1 + distance] for t in before], 0)

    starts = {
        key: tf.concat([chunks.observed.states[key][:, t] for t in before], 0)
        for key in model.cell.state_sizes
    }
    action = stretches(batch["action"])
    noise = recurrence.chunk_noise(action, model.cell.stoch_size, seeds.fold_in(chunks.seed, 3))
    _, states = model.cell.imagine(action, noise, starts, static=True)
    feat = model.cell.features(states)
    log_prob = model.reward.distribution(feat).log_prob(stretches(batch["reward"]))
    if model.continuation is not None:
        continues = tf.cast(stretches(batch["discount"]) > 0, tf.float32)
        log_prob += model.continuation.distribution(feat).log_prob(continues)
    borders = tf.cumsum(tf.cast(stretches(batch["is_first"]), tf.int32), 1)
    valid = tf.cast(borders == 0, tf.float32)
    return -tf.math.divide_no_nan(tf.reduce_sum(valid * log_prob), tf.reduce_sum(valid))


def _overshooting(model: "WorldModel", chunks: Chunks) -> tf.Tensor:
    distance, size = model.overshooting_distance, model.cell.stoch_size

    def imagine(action, state):
        shape = tf.stack([tf.shape(action)[0], distance, size])
        noise = seeds.normal(shape, seeds.fold_in(chunks.seed, 2))
        noise = tf.ensure_shape(noise, [action.shape[0], distance, size])
        return model.cell.imagine(action, noise, state)[0]

    return losses.overshooting(
        chunks.observed.posterior,
        chunks.observed.states,
        chunks.batch["action"],
        chunks.batch["is_first"],
        imagine,
        distance,
        model.weights.free_nats,
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
