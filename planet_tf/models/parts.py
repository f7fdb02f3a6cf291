"""The networks that a world model is made of: the usual ones, or custom ones."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from planet_tf.models import custom, networks


def make_encoder(
    make: Callable[[], tf.Module] | None, reads: str, input_shape: tuple[int, ...]
) -> Any:
    """Makes the encoder, from float32 [..., *input_shape] to [..., E].

    Args:
      make: of a custom one; None: the usual one.
      reads: 'image' or 'state'.
      input_shape: of a preprocessed observation.
    """
    if make is not None:
        return custom.CustomNetwork("WorldModel.encoder", make, input_shape, (None,))
    return networks.Encoder() if reads == "image" else networks.StateEncoder()


def make_decoder(
    make: Callable[[], tf.Module] | None, reads: str, input_shape: tuple[int, ...], cell: Any
) -> Any:
    """Makes the decoder, from features [..., F] of the latent model to [..., *input_shape]."""
    if make is not None:
        feat = cell.features(cell.initial_state(1))
        return custom.CustomNetwork("WorldModel.decoder", make, feat.shape[1:], input_shape)
    if reads == "image":
        return networks.Decoder(image_shape=input_shape)
    return networks.StateDecoder(state_size=input_shape[0])


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """Sets the precision of the Keras layers that are made in the block."""
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(name)
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)
