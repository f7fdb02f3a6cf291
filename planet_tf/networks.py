"""The feed-forward parts of the model: image encoder, image decoder, scalar head.

Sizes are the release's (algorithm: Hafner et al. 2019, appendix A). Every layer works on any number
of leading dimensions, so the same code serves a step [B, ...] and a chunk [B, L, ...].
"""

from collections.abc import Sequence

import gin
import tensorflow as tf
from tensorflow_probability import distributions as tfd


def _merge_leading(x: tf.Tensor, inner: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Flattens all but the last `inner` dimensions; also returns the flattened ones' shape."""
    shape = tf.shape(x)
    return tf.reshape(x, tf.concat([[-1], shape[-inner:]], 0)), shape[:-inner]


@gin.configurable(module="planet_tf")
class Encoder(tf.keras.layers.Layer):
    """Strided convolutions from a preprocessed image to its embedding.

    Args:
      filters: channels of each convolution; stride 2, no padding, ReLU.
      kernel_size: side of every kernel, in pixels.
    """

    def __init__(
        self,
        filters: Sequence[int] = (32, 64, 128, 256),
        kernel_size: int = 4,
        name: str = "encoder",
    ):
        super().__init__(name=name)
        self.convs = [
            tf.keras.layers.Conv2D(f, kernel_size, 2, activation="relu", name=f"conv{i + 1}")
            for i, f in enumerate(filters)
        ]

    def call(self, image: tf.Tensor) -> tf.Tensor:
        """Maps float32 [..., H, W, 3] to its embedding, float32 [..., E]."""
        static_outer, static_image = image.shape[:-3], image.shape[-3:]
        x, outer = _merge_leading(image, 3)
        x = tf.ensure_shape(x, [None, *static_image])
        for conv in self.convs:
            x = conv(x)
        size = x.shape[1] * x.shape[2] * x.shape[3]
        embed = tf.reshape(x, tf.concat([outer, [size]], 0))
        return tf.ensure_shape(embed, [*static_outer, size])


class _PixelConvTranspose(tf.keras.layers.Conv2DTranspose):
    """A transposed convolution of a 1x1 image: the same function and weights, as one matmul.

    Every output pixel sees exactly one input pixel, which the general kernel does not know: written
    as a matmul it takes about a tenth of the time.
    """

    def call(self, x: tf.Tensor) -> tf.Tensor:
        height, width, filters, channels = self.kernel.shape
        kernel = tf.reshape(self.kernel, [height * width * filters, channels])
        y = tf.matmul(tf.reshape(x, [-1, channels]), kernel, transpose_b=True)
        y = tf.reshape(y, [-1, height, width, filters])
        return self.activation(tf.nn.bias_add(y, self.bias))


@gin.configurable(module="planet_tf", denylist=["image_shape"])
class Decoder(tf.keras.layers.Layer):
    """Dense layer and transposed convolutions from features to a distribution over images.

    Args:
      image_shape: (H, W, C) that the transposed convolutions must arrive at.
      units: outputs of the linear first layer, read as a 1x1 image.
      filters: channels of the transposed convolutions but for the last, which has C.
      kernel_sizes: one side for each transposed convolution; stride 2, no padding.

    Raises:
      ValueError: if the layers do not arrive at image_shape.
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (64, 64, 3),
        units: int = 1024,
        filters: Sequence[int] = (128, 64, 32),
        kernel_sizes: Sequence[int] = (5, 5, 6, 6),
        name: str = "decoder",
    ):
        super().__init__(name=name)
        self.image_shape = tuple(image_shape)
        channels = [*filters, self.image_shape[-1]]
        size = 1
        for kernel in kernel_sizes:
            size = (size - 1) * 2 + kernel
        if min(kernel_sizes) < 2:
            raise ValueError(f"Decoder: kernel_sizes must be at least 2, got {tuple(kernel_sizes)}")
        if len(channels) != len(kernel_sizes) or self.image_shape[:2] != (size, size):
            raise ValueError(
                f"Decoder: kernel_sizes {tuple(kernel_sizes)} with filters {tuple(filters)} make "
                f"{len(channels)} layers and {size}x{size} pixels, but the image is "
                f"{self.image_shape}: give one kernel size more than filters, sized to fit"
            )
        self.dense = tf.keras.layers.Dense(units, name="dense")
        self.deconvs = []
        for i, (f, k) in enumerate(zip(channels, kernel_sizes, strict=True)):
            make = tf.keras.layers.Conv2DTranspose if i else _PixelConvTranspose
            activation = "relu" if i < len(channels) - 1 else None
            self.deconvs.append(make(f, k, 2, activation=activation, name=f"deconv{i + 1}"))

    def call(self, feat: tf.Tensor) -> tf.Tensor:
        """Maps features, float32 [..., D + S], to the mean image, float32 [..., H, W, C]."""
        static_outer = feat.shape[:-1]
        x, outer = _merge_leading(self.dense(feat), 1)
        x = x[:, None, None, :]
        for deconv in self.deconvs:
            x = deconv(x)
        mean = tf.reshape(x, tf.concat([outer, self.image_shape], 0))
        return tf.ensure_shape(mean, [*static_outer, *self.image_shape])

    def distribution(self, feat: tf.Tensor) -> tfd.Distribution:
        """Returns p(image | feat): Normal(mean, 1), batch shape [...], event shape [H, W, C]."""
        return tfd.Independent(tfd.Normal(self(feat), 1.0), len(self.image_shape))


@gin.configurable(module="planet_tf")
class RewardHead(tf.keras.layers.Layer):
    """Dense layers from features to a distribution over the reward.

    Args:
      units: outputs of each hidden layer, ReLU.
      layers: number of hidden layers.
    """

    def __init__(self, units: int = 300, layers: int = 3, name: str = "reward"):
        super().__init__(name=name)
        self.hidden = [
            tf.keras.layers.Dense(units, activation="relu", name=f"dense{i + 1}")
            for i in range(layers)
        ]
        self.out = tf.keras.layers.Dense(1, name="mean")

    def call(self, feat: tf.Tensor) -> tf.Tensor:
        """Maps features, float32 [..., D + S], to the mean reward, float32 [...]."""
        x = feat
        for layer in self.hidden:
            x = layer(x)
        return tf.squeeze(self.out(x), -1)

    def distribution(self, feat: tf.Tensor) -> tfd.Distribution:
        """Returns p(reward | feat): Normal(mean, 1) of batch shape [...]."""
        return tfd.Normal(self(feat), 1.0)
