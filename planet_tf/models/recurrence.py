"""What the latent models share: Gaussians, the GRU, the split layer, loops over chunks."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from planet_tf import seeds

State = dict[str, tf.Tensor]
"""A latent state: what the model has of `deter` [..., D] and `stoch` [..., S]."""


class Observed(NamedTuple):
    """A filtered chunk.

    Attributes:
      posterior, prior: distributions over stoch, batch shape [B, L], event shape [S]; None for a
        model without randomness.
      states: the states, parts [B, L, ...], and whatever else the cell's `features` reads.
    """

    posterior: Any
    prior: Any
    states: State


def gaussian(mean: tf.Tensor, std: tf.Tensor) -> tfd.Distribution:
    """Returns Normal(mean, std) with batch shape [...] and event shape [S]."""
    return tfd.Independent(tfd.Normal(mean, std), 1)


def gaussian_from(out: tf.Tensor, min_std: float) -> tfd.Distribution:
    """Returns the Gaussian of a layer's output [..., 2 S]; its std is softplus(...) + min_std."""
    mean, std = tf.split(out, 2, -1)
    return gaussian(mean, tf.nn.softplus(std) + min_std)


def mean_std(distribution: tfd.Distribution) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the mean and std [..., S] of a distribution made by `gaussian`."""
    return distribution.distribution.loc, distribution.distribution.scale


def draw(distribution: tfd.Distribution, noise: tf.Tensor) -> tf.Tensor:
    """Returns a sample, mean + std * noise, float32 [..., S]."""
    mean, std = mean_std(distribution)
    return mean + std * noise


def gru(gates, candidate, x: tf.Tensor, deter: tf.Tensor) -> tf.Tensor:
    """Returns the GRU's next state [..., D]; it resets before the matmul (reset_after=False).

    A GRU as two dense layers: on a CPU, bias and sigmoid or tanh are then fused into the matmul,
    which takes two thirds of the time of Keras's GRUCell.

    Args:
      gates: Dense from [..., X + D] to [..., 2 D], sigmoid: reset and update.
      candidate: Dense from [..., X + D] to [..., D], tanh.
      x: input, [..., X].
      deter: the state before, float32 [..., D].
    """
    half = tf.cast(deter, x.dtype)
    reset, update = tf.split(gates(tf.concat([x, half], -1)), 2, -1)
    new = candidate(tf.concat([x, reset * half], -1))
    update, new = tf.cast(update, tf.float32), tf.cast(new, tf.float32)
    return new + update * (deter - new)


def gru_layers(deter_size: int) -> tuple[tf.keras.layers.Dense, tf.keras.layers.Dense]:
    """Returns the GRU's layers `gates` (bias 1, as in the release) and `candidate`."""
    dense = tf.keras.layers.Dense
    return (
        dense(2 * deter_size, "sigmoid", bias_initializer="ones", name="gates"),
        dense(deter_size, "tanh", name="candidate"),
    )


def split_layer(units: int, context_size: int) -> tuple[tf.keras.layers.Dense, ...]:
    """Returns one dense layer of concat(context, embed) in two parts, for context and for embed.

    All embeddings of a chunk pass through their part in one matmul, outside the loop. Each part is
    initialized as it would be in the whole layer.
    """
    dense = tf.keras.layers.Dense
    embed = dense(
        units,
        use_bias=False,
        kernel_initializer=_glorot_with(lambda: context_size),
        name="posterior_embed",
    )
    context = dense(
        units,
        kernel_initializer=_glorot_with(lambda: embed.kernel.shape[0]),
        name="posterior_context",
    )
    return context, embed


def _glorot_with(other_inputs: Callable[[], int]):
    """Returns Glorot's uniform initializer for a part of a dense layer that has other inputs."""

    def initialize(shape, dtype=None):
        limit = math.sqrt(6.0 / (shape[0] + other_inputs() + shape[1]))
        return tf.keras.initializers.RandomUniform(-limit, limit)(shape, dtype)

    return initialize


def relu_sum(context: tf.Tensor, embed: tf.Tensor) -> tf.Tensor:
    """Returns ReLU of the split layer's two parts.

    Not tf.nn.relu: TensorFlow 2.15's graph optimizer fails on a fused matmul, bias, sum and Relu,
    and leaves the whole graph unoptimized.
    """
    return tf.maximum(context + tf.cast(embed, context.dtype), 0.0)


def chunk_noise(chunk: tf.Tensor, size: int, seed: tf.Tensor) -> tf.Tensor:
    """Draws standard normals, float32 [B, L, size], for a chunk [B, L, ...]."""
    shape = tf.concat([tf.shape(chunk)[:2], [size]], 0)
    return tf.ensure_shape(seeds.normal(shape, seed), [*chunk.shape[:2], size])


def zero_state(sizes: dict[str, int], batch_size: int | tf.Tensor) -> State:
    """Returns the state that every episode and every chunk starts from."""
    return {key: tf.zeros([batch_size, size]) for key, size in sizes.items()}


def reset_rows(
    state: State, action: tf.Tensor, is_first: tf.Tensor | None
) -> tuple[State, tf.Tensor]:
    """Sets state and action to zero in the rows where `is_first`, [B, 1] (0 or 1), is 1.

    Selected, not multiplied: a state that has become NaN does not outlive its episode.
    """
    if is_first is None:
        return state, action
    first = is_first > 0
    return {k: tf.where(first, 0.0, v) for k, v in state.items()}, tf.where(first, 0.0, action)


def unroll(cell, inputs: dict[str, tf.Tensor], state: State | None, static: bool = False) -> State:
    """Runs a Keras cell over a chunk.

    Args:
      cell: takes steps; see `RSSMCell.call`.
      inputs: what the cell takes, each [B, L, ...].
      state: the state before the chunk; None: zeros.
      static: builds one graph of all L steps instead of a loop (faster for a short horizon).

    Returns:
      the cell's outputs, each [B, L, ...].

    Raises:
      ValueError: if B or L differ.
    """
    _check_leading(inputs, state or {})
    if state is None:
        state = cell.initial_state(tf.shape(inputs["action"])[0])
    if not static:
        # The RNN layer has no variables of its own: it need not be kept (and tracked twice).
        return tf.keras.layers.RNN(cell, return_sequences=True)(inputs, initial_state=(state,))
    outputs = []
    for t in range(inputs["action"].shape[1]):  # Keras's unrolled loop takes no dict of inputs
        out, (state,) = cell({key: value[:, t] for key, value in inputs.items()}, (state,))
        outputs.append(out)
    return tf.nest.map_structure(lambda *steps: tf.stack(steps, 1), *outputs)


def _check_leading(inputs: dict[str, tf.Tensor], state: State) -> None:
    shapes = {key: value.shape[:2] for key, value in inputs.items()}
    for key, value in state.items():
        shapes[key] = value.shape[:1].concatenate([None])
    if any(not a.is_compatible_with(b) for a in shapes.values() for b in shapes.values()):
        raise ValueError(f"the leading dimensions [B, L] of a chunk must agree, got {shapes}")


def as_column(flag: tf.Tensor) -> tf.Tensor:
    """Returns a bool [B, L] as float32 [B, L, 1], the form in which cells take flags."""
    return tf.cast(flag, tf.float32)[..., None]
