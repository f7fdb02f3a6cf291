"""The feed-forward networks: image and state encoders, decoders, reward and continuation heads.

Sizes are the release's (Hafner et al. 2019, appendix A). Every network works on any number of
leading dimensions, so that the same code serves a step [B, ...] and a chunk [B, L, ...]. Under a
mixed precision policy of Keras the layers compute in 16 bits; the means of distributions are
float32.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from planet_tf import checks, errors
from planet_tf.models import fast_layers


def over_leading(function: Callable, x: tf.Tensor, inner: int) -> tf.Tensor:
    """Applies a function of [N, ...] to a tensor with any number of leading dimensions.

    Args:
      function: maps [N, *x.shape[-inner:]] to [N, ...]; the latter's sizes are static.
      x: [..., *inner dimensions].
      inner: how many dimensions are not leading.
    """
    shape = tf.shape(x)
    flat = tf.reshape(x, tf.concat([[-1], shape[-inner:]], 0))
    y = function(tf.ensure_shape(flat, [None, *x.shape[-inner:]]))
    sizes = y.shape[1:]
    y = tf.reshape(y, tf.concat([shape[:-inner], sizes], 0))
    return tf.ensure_shape(y, [*x.shape[:-inner], *sizes])


@checks.configurable()
class Encoder(tf.keras.layers.Layer):
    """Strided convolutions from a preprocessed image to its embedding.

    Args:
      filters: channels of each convolution; stride 2, no padding, ReLU.
      kernel_size: side of every kernel, in pixels.
    """

    def __init__(
        self,
        filters: checks.Counts = (32, 64, 128, 256),
        kernel_size: checks.Count = 4,
        name: str = "encoder",
    ):
        super().__init__(name=name)
        self.convs = [
            fast_layers.Conv(f, kernel_size, 2, activation="relu", name=f"conv{i + 1}")
            for i, f in enumerate(filters)
        ]

    def call(self, image: tf.Tensor) -> tf.Tensor:
        """Maps float32 [..., H, W, 3] to its embedding, [..., E] in the layer's compute dtype."""
        return over_leading(self._flat, image, 3)

    def _flat(self, x: tf.Tensor) -> tf.Tensor:
        for conv in self.convs:
            x = conv(x)
        return tf.reshape(x, [-1, x.shape[1] * x.shape[2] * x.shape[3]])


@checks.configurable(denylist=["image_shape"])
class Decoder(tf.keras.layers.Layer):
    """Dense layer and transposed convolutions from features to a distribution over images.

    Args:
      image_shape: (H, W, C), the size that the transposed convolutions must arrive at.
      units: outputs of the linear first layer, read as a 1x1 image.
      filters: channels of the transposed convolutions except the last, which has C.
      kernel_sizes: one side per transposed convolution; stride 2, no padding.

    Raises:
      ConfigError: if the layers do not arrive at image_shape.
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (64, 64, 3),
        units: checks.Count = 1024,
        filters: checks.Counts = (128, 64, 32),
        kernel_sizes: checks.Counts = (5, 5, 6, 6),
        name: str = "decoder",
    ):
        super().__init__(name=name)
        self.image_shape = tuple(image_shape)
        channels = [*filters, self.image_shape[-1]]
        _check_sizes(self.image_shape, channels, kernel_sizes)
        self.dense = tf.keras.layers.Dense(units, name="dense")
        kinds = [fast_layers.PixelConvTranspose]
        kinds += [tf.keras.layers.Conv2DTranspose] * (len(channels) - 2)
        kinds += [fast_layers.ToImageConvTranspose]
        self.deconvs = [
            make(f, k, 2, activation="relu" if i < len(channels) else None, name=f"deconv{i}")
            for i, (make, f, k) in enumerate(zip(kinds, channels, kernel_sizes, strict=True), 1)
        ]

    def call(self, feat: tf.Tensor) -> tf.Tensor:
        """Maps features, float32 [..., F], to the mean image, float32 [..., H, W, C]."""
        return over_leading(self._flat, feat, 1)

    def _flat(self, x: tf.Tensor) -> tf.Tensor:
        x = self.dense(x)[:, None, None, :]
        for deconv in self.deconvs:
            x = deconv(x)
        return tf.ensure_shape(tf.cast(x, tf.float32), [None, *self.image_shape])

    def distribution(self, feat: tf.Tensor) -> tfd.Distribution:
        """Returns p(image | feat): Normal(mean, 1), batch shape [...], event shape [H, W, C]."""
        return fast_layers.UnitNormal(tfd.Normal(self(feat), 1.0), len(self.image_shape))


def _check_sizes(image_shape, channels: list[int], kernel_sizes: Sequence[int]) -> None:
    size = 1
    for kernel in kernel_sizes:
        size = (size - 1) * 2 + kernel
    fits = len(channels) == len(kernel_sizes) >= 2 and image_shape[:2] == (size, size)
    if not fits or min(kernel_sizes) < 2:
        raise errors.ConfigError(
            f"Decoder.kernel_sizes {tuple(kernel_sizes)} with filters {tuple(channels[:-1])} make "
            f"{len(kernel_sizes)} layers and {size}x{size} pixels, but the image is {image_shape}",
            "give two or more kernel sizes, one more than filters, each at least 2, that arrive at "
            "the image's size",
            "Decoder.kernel_sizes",
        )


class _Dense(tf.keras.layers.Layer):
    """Dense ReLU layers and, if `outputs` is given, a linear float32 layer.

    Args:
      units: outputs of each hidden layer.
      layers: number of hidden layers.
      outputs: outputs of the last layer; None: there is none.
    """

    def __init__(self, units: int, layers: int, outputs: int | None, name: str):
        super().__init__(name=name)
        dense = tf.keras.layers.Dense
        self.hidden = [dense(units, "relu", name=f"dense{i + 1}") for i in range(layers)]
        self.out = None if outputs is None else dense(outputs, name="mean", dtype="float32")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Maps float32 [..., N] to [..., outputs or units]."""
        return over_leading(self._flat, x, 1)

    def _flat(self, x: tf.Tensor) -> tf.Tensor:
        for layer in self.hidden:
            x = layer(x)
        return x if self.out is None else self.out(x)


@checks.configurable()
class StateEncoder(_Dense):
    """Dense layers from a state vector to its embedding, for tasks seen as states.

    Args:
      units: outputs of each layer, ReLU.
      layers: number of layers.
    """

    def __init__(
        self, units: checks.Count = 200, layers: checks.Natural = 2, name: str = "encoder"
    ):
        super().__init__(units, layers, None, name)


@checks.configurable(denylist=["state_size"])
class StateDecoder(_Dense):
    """Dense layers from features to a distribution over a state vector.

    Args:
      state_size: N, components of the state vector.
      units: outputs of each hidden layer, ReLU.
      layers: number of hidden layers.
    """

    def __init__(
        self,
        state_size: int,
        units: checks.Count = 200,
        layers: checks.Natural = 2,
        name: str = "decoder",
    ):
        super().__init__(units, layers, state_size, name)

    def distribution(self, feat: tf.Tensor) -> tfd.Distribution:
        """Returns p(state | feat): Normal(mean, 1), batch shape [...], event shape [N]."""
        return tfd.Independent(tfd.Normal(self(feat), 1.0), 1)


class _ScalarHead(_Dense):
    """A network with one output, squeezed: [..., F] to [...]."""

    def __init__(self, units: int, layers: int, name: str):
        super().__init__(units, layers, 1, name)

    def call(self, feat: tf.Tensor) -> tf.Tensor:
        """Returns float32 [...]."""
        return tf.squeeze(super().call(feat), -1)


@checks.configurable()
class RewardHead(_ScalarHead):
    """Dense layers from features to a distribution over the reward.

    Args:
      units: outputs of each hidden layer, ReLU.
      layers: number of hidden layers.
    """

    def __init__(self, units: checks.Count = 300, layers: checks.Natural = 3, name: str = "reward"):
        super().__init__(units, layers, name)

    def distribution(self, feat: tf.Tensor) -> tfd.Distribution:
        """Returns p(reward | feat): Normal(mean, 1) with batch shape [...]."""
        return tfd.Normal(self(feat), 1.0)


@checks.configurable()
class ContinuationHead(_ScalarHead):
    """Dense layers from features to the probability that the episode continues after this step.

    Args:
      units: outputs of each hidden layer, ReLU.
      layers: number of hidden layers.
    """

    def __init__(
        self, units: checks.Count = 200, layers: checks.Natural = 2, name: str = "continuation"
    ):
        super().__init__(units, layers, name)

    def distribution(self, feat: tf.Tensor) -> tfd.Distribution:
        """Returns p(continues | feat): Bernoulli with batch shape [...]."""
        return tfd.Bernoulli(logits=self(feat), dtype=tf.float32)
