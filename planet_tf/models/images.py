"""Images between the environment (uint8) and the model (float32 around zero)."""

import tensorflow as tf

BITS = 5
"""Colour depth the model sees (release: 5 bits, as in Glow)."""


def preprocess(image: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """Quantises, dequantises and centres: floor(x / 8) / 32 + U(0, 1/32) - 0.5 at 5 bits.

    Args:
      image: uint8 [..., H, W, C].
      noise: float32 of the same shape, uniform in [0, 1); a new draw for every use of an image.

    Returns:
      float32 of the same shape in [-0.5, 0.5].

    Raises:
      TypeError: if the image is not uint8 (an image that is already scaled would turn black).
    """
    _check_uint8(image)
    levels = tf.cast(tf.bitwise.right_shift(image, tf.constant(8 - BITS, tf.uint8)), tf.float32)
    return (levels + noise) / 2**BITS - 0.5


def _check_uint8(image: tf.Tensor) -> None:
    if image.dtype != tf.uint8:
        raise TypeError(f"image must be uint8 with values 0..255, got {image.dtype.name}")


def shift(image: tf.Tensor, pixels: int, seed: tf.Tensor) -> tf.Tensor:
    """Shifts chunks up or down and left or right at random, repeating border pixels.

    DrQ's augmentation (Kostrikov et al. 2021): the model sees objects in more positions than were
    collected.

    Args:
      image: uint8 [B, L, H, W, C]; the L images of a chunk are shifted alike.
      pixels: the largest shift; all whole numbers from -pixels to pixels are equally likely.
      seed: int32 [2].
    """
    if not pixels:
        return image
    count, (height, width) = tf.shape(image)[0], image.shape[2:4]
    by = tf.random.stateless_uniform(
        [count, 2, 1], seed, -pixels, pixels + 1, tf.int32, alg="philox"
    )
    rows = tf.clip_by_value(tf.range(height) + by[:, 0], 0, height - 1)
    columns = tf.clip_by_value(tf.range(width) + by[:, 1], 0, width - 1)
    shifted = tf.gather(tf.gather(image, rows, axis=2, batch_dims=1), columns, axis=3, batch_dims=1)
    return tf.ensure_shape(shifted, image.shape)


def downscale(image: tf.Tensor, size: int) -> tf.Tensor:
    """Averages square blocks of pixels: uint8 [..., H, W, C] becomes uint8 [..., size, size, C].

    Raises:
      TypeError: if the image is not uint8.
      ValueError: if H or W is not a multiple of size.
    """
    _check_uint8(image)
    height, width, channels = image.shape[-3:]
    if height == width == size:
        return image
    if height % size or width % size:
        raise ValueError(f"cannot average a {height}x{width} image down to {size}x{size}")
    outer = tf.shape(image)[:-3]
    flat = tf.cast(tf.reshape(image, [-1, height, width, channels]), tf.float32)
    window = [height // size, width // size]
    small = tf.cast(tf.round(tf.nn.avg_pool2d(flat, window, window, "VALID")), tf.uint8)
    small = tf.reshape(small, tf.concat([outer, [size, size, channels]], 0))
    return tf.ensure_shape(small, [*image.shape[:-3], size, size, channels])
