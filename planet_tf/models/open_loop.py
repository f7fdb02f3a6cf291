"""Open-loop predictions: the model sees a few observations, then the actions alone."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from planet_tf import seeds
from planet_tf.models import losses, recurrence

if TYPE_CHECKING:
    from planet_tf.models.world_model import Batch, WorldModel

CONTEXT = 5
"""Observations that open-loop predictions see (paper figure 3)."""

SEED = (0, 0)
"""Draws the latent states of figures."""


def predict(
    model: "WorldModel", batch: "Batch", context: int, seed: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Filters `context` steps, then predicts the rest from the actions alone.

    Args:
      model: the world model.
      batch: chunks; see `world_model.Batch`.
      context: number of observations the model may see, 1 to L - 1.
      seed: int32 [2].

    Returns:
      observation: float32 [B, L, *input_shape], reconstructed for the first `context` steps (by an
        RNN: predicted from the steps before), predicted open loop for the others.
      target: float32 [B, L, *input_shape], the preprocessed observations.
      reward: float32 [B, L], predicted mean rewards.
      kl: float32 [B, L], nats: KL(posterior || prior); the posterior has seen all observations up
        to its step, the prior `context` at most; 0 for an RNN.

    Raises:
      ValueError: if context leaves nothing to see or nothing to predict.
    """
    length = batch["action"].shape[1]
    if not 0 < context < length:
        raise ValueError(f"context must be 1 to {length - 1} of {length} steps, got {context}")
    observation_seed, stoch_seed, open_seed = seeds.split(seed, 3)
    observation = model.preprocess_chunk(batch[model.reads], observation_seed)
    observed = model.observe(observation, batch, stoch_seed)
    states = {key: value[:, :context] for key, value in observed.states.items()}
    last = {key: states[key][:, -1] for key in model.cell.state_sizes}
    action = batch["action"][:, context:]
    noise = recurrence.chunk_noise(action, model.cell.stoch_size, open_seed)
    open_prior, ahead = model.cell.imagine(action, noise, last)
    kl = losses.observed_divergence(observed)
    if observed.posterior is not None:
        open_kl = tfd.kl_divergence(observed.posterior[:, context:], open_prior)
        kl = tf.concat([kl[:, :context], open_kl], 1)
    feat = tf.concat([model.cell.features(states), model.cell.features(ahead)], 1)
    return {
        "observation": model.decoder.distribution(feat).mean(),
        "target": observation,
        "reward": model.reward.distribution(feat).mean(),
        "kl": kl,
    }


def measure(prediction: Mapping[str, tf.Tensor], reward: tf.Tensor) -> dict[str, tf.Tensor]:
    """Measures predictions per step.

    Args:
      prediction: of `predict`.
      reward: float32 [B, L], the rewards that were received.

    Returns:
      float32 [B, L] by name. observation: root mean square over pixels (black to white is 1) or
      over components of a state; reward: absolute; kl: nats.
    """
    off = tf.square(prediction["observation"] - prediction["target"])
    return {
        "observation": tf.sqrt(tf.reduce_mean(off, range(2, off.shape.rank))),
        "reward": tf.abs(prediction["reward"] - reward),
        "kl": prediction["kl"],
    }
