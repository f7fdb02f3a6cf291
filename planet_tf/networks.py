"""The feed-forward parts of the model: image encoder, image decoder, scalar head, one's own.

Sizes are the release's (algorithm: Hafner et al. 2019, appendix A). Every layer works on any number
of leading dimensions, so the same code serves a step [B, ...] and a chunk [B, L, ...]. Under a
mixed precision policy of Keras the layers compute in its 16 bits; the means that distributions are
made of are float32.
"""

import math
from collections.abc import Callable, Sequence

import gin
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from planet_tf import config, convolutions


def _merge_leading(x: tf.Tensor, inner: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Flattens all but the last `inner` dimensions; also returns the flattened ones' shape."""
    shape = tf.shape(x)
    return tf.reshape(x, tf.concat([[-1], shape[-inner:]], 0)), shape[:-inner]


def _check_each(owner: str, name: str, sizes) -> None:
    """Checks a tuple of whole numbers of at least 1."""
    if not isinstance(sizes, (tuple, list)):
        raise ValueError(f"{owner}.{name} must be a tuple of whole numbers, got {sizes!r}")
    config.check_whole_numbers(owner, {f"{name}[{i}]": size for i, size in enumerate(sizes)})


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
        _check_each("Encoder", "filters", filters)
        config.check_whole_numbers("Encoder", {"kernel_size": kernel_size})
        self.convs = [
            convolutions.Conv(f, kernel_size, 2, activation="relu", name=f"conv{i + 1}")
            for i, f in enumerate(filters)
        ]

    @property
    def layers_in_order(self) -> list[tf.keras.layers.Layer]:
        """The convolutions, the first one first."""
        return list(self.convs)

    def call(self, image: tf.Tensor) -> tf.Tensor:
        """Maps float32 [..., H, W, 3] to its embedding, [..., E] in the layer's compute dtype."""
        static_outer, static_image = image.shape[:-3], image.shape[-3:]
        x, outer = _merge_leading(image, 3)
        x = tf.ensure_shape(x, [None, *static_image])
        for conv in self.convs:
            x = conv(x)
        size = x.shape[1] * x.shape[2] * x.shape[3]
        embed = tf.reshape(x, tf.concat([outer, [size]], 0))
        return tf.ensure_shape(embed, [*static_outer, size])


class _UnitNormal(tfd.Independent):
    """Independent normals of standard deviation 1: what a large mean costs least to train with."""

    def _log_prob(self, value):
        inner = [value.shape[i] for i in range(-len(self.event_shape), 0)]
        size = math.prod(inner)
        outer = tf.shape(value)[: -len(inner)]
        value, mean = tf.reshape(value, [-1, size]), tf.reshape(self.distribution.loc, [-1, size])
        squares = tf.reshape(_squared_distance(value, mean), outer)
        return -0.5 * squares - 0.5 * size * math.log(2 * math.pi)


@tf.custom_gradient
def _squared_distance(x, y):
    """Returns sum((x - y)^2) of each row, float32 [N]; keeps one array, not four."""
    difference = x - y

    def gradient(dy):
        return difference * (2.0 * dy)[:, None], difference * (-2.0 * dy)[:, None]

    return tf.reduce_sum(tf.square(difference), -1), gradient


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
        _check_each("Decoder", "filters", filters)
        _check_each("Decoder", "kernel_sizes", kernel_sizes)
        config.check_whole_numbers("Decoder", {"units": units})
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
            last = i == len(channels) - 1
            make = convolutions.ToImageConvTranspose if last else tf.keras.layers.Conv2DTranspose
            make = make if i else convolutions.PixelConvTranspose
            activation = None if last else "relu"
            self.deconvs.append(make(f, k, 2, activation=activation, name=f"deconv{i + 1}"))

    @property
    def layers_in_order(self) -> list[tf.keras.layers.Layer]:
        """The dense layer and the transposed convolutions."""
        return [self.dense, *self.deconvs]

    def call(self, feat: tf.Tensor) -> tf.Tensor:
        """Maps features, float32 [..., F], to the mean image, float32 [..., H, W, C]."""
        static_outer = feat.shape[:-1]
        x, outer = _merge_leading(feat, 1)
        x = self.dense(x)[:, None, None, :]
        for deconv in self.deconvs:
            x = deconv(x)
        mean = tf.cast(tf.reshape(x, tf.concat([outer, self.image_shape], 0)), tf.float32)
        return tf.ensure_shape(mean, [*static_outer, *self.image_shape])

    def distribution(self, feat: tf.Tensor) -> tfd.Distribution:
        """Returns p(image | feat): Normal(mean, 1), batch shape [...], event shape [H, W, C]."""
        return _UnitNormal(tfd.Normal(self(feat), 1.0), len(self.image_shape))


class _Dense(tf.keras.layers.Layer):
    """Dense ReLU layers and, where `outputs` is given, a linear float32 one.

    Args:
      units: outputs of each hidden layer.
      layers: number of hidden layers.
      outputs: outputs of the last layer; None: there is none.
    """

    def __init__(self, units: int, layers: int, outputs: int | None, name: str):
        super().__init__(name=name)
        config.check_whole_numbers(
            type(self).__name__, {"units": units, "layers": layers}, {"layers": 0}
        )
        dense = tf.keras.layers.Dense
        self.hidden = [dense(units, "relu", name=f"dense{i + 1}") for i in range(layers)]
        self.out = None if outputs is None else dense(outputs, name="mean", dtype="float32")

    @property
    def layers_in_order(self) -> list[tf.keras.layers.Dense]:
        """All layers, the first one first."""
        return [*self.hidden, *([] if self.out is None else [self.out])]

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Maps float32 [..., N] to [..., outputs or units]."""
        static_outer = x.shape[:-1]
        flat, outer = _merge_leading(x, 1)
        flat = tf.ensure_shape(flat, [None, x.shape[-1]])
        for layer in self.layers_in_order:
            flat = layer(flat)
        size = flat.shape[-1]
        return tf.ensure_shape(
            tf.reshape(flat, tf.concat([outer, [size]], 0)), [*static_outer, size]
        )


@gin.configurable(module="planet_tf")
class StateEncoder(_Dense):
    """Dense layers from a state vector to its embedding, for tasks seen as states, not pixels.

    Args:
      units: outputs of each layer, ReLU.
      layers: number of layers.
    """

    def __init__(self, units: int = 200, layers: int = 2, name: str = "encoder"):
        super().__init__(units, layers, None, name)


@gin.configurable(module="planet_tf", denylist=["state_size"])
class StateDecoder(_Dense):
    """Dense layers from features to a distribution over a state vector.

    Args:
      state_size: N, components of the state vector.
      units: outputs of each hidden layer, ReLU.
      layers: number of hidden layers.
    """

    def __init__(self, state_size: int, units: int = 200, layers: int = 2, name: str = "decoder"):
        super().__init__(units, layers, state_size, name)

    def distribution(self, feat: tf.Tensor) -> tfd.Distribution:
        """Returns p(state | feat): Normal(mean, 1), batch shape [...], event shape [N]."""
        return tfd.Independent(tfd.Normal(self(feat), 1.0), 1)


class _ScalarHead(_Dense):
    """A network of one output, which stands without an axis of its own: [..., F] to [...]."""

    def __init__(self, units: int, layers: int, name: str):
        super().__init__(units, layers, 1, name)

    def call(self, feat: tf.Tensor) -> tf.Tensor:
        """Returns float32 [...]."""
        return tf.squeeze(super().call(feat), -1)


@gin.configurable(module="planet_tf")
class RewardHead(_ScalarHead):
    """Dense layers from features to a distribution over the reward.

    Args:
      units: outputs of each hidden layer, ReLU.
      layers: number of hidden layers.
    """

    def __init__(self, units: int = 300, layers: int = 3, name: str = "reward"):
        super().__init__(units, layers, name)

    def distribution(self, feat: tf.Tensor) -> tfd.Distribution:
        """Returns p(reward | feat): Normal(mean, 1) of batch shape [...]."""
        return tfd.Normal(self(feat), 1.0)


@gin.configurable(module="planet_tf")
class ContinuationHead(_ScalarHead):
    """Dense layers from features to whether the episode goes on after this step.

    Args:
      units: outputs of each hidden layer, ReLU.
      layers: number of hidden layers.
    """

    def __init__(self, units: int = 200, layers: int = 2, name: str = "continuation"):
        super().__init__(units, layers, name)

    def distribution(self, feat: tf.Tensor) -> tfd.Distribution:
        """Returns p(goes on | feat): Bernoulli of batch shape [...]."""
        return tfd.Bernoulli(logits=self(feat), dtype=tf.float32)


class OwnNetwork(tf.Module):
    """A network of one's own, of [N, ...], on any number of leading dimensions: [..., ...].

    Args:
      setting: where it was given, such as 'WorldModel.encoder'; for errors.
      make: a class or function that makes it, without arguments: a Keras layer or model, or another
        tf.Module, that maps float32 [N, *inputs] to floats [N, *outputs].
      inputs: shape of one input.
      outputs: shape of one output; (None,): a vector of any size.

    Raises:
      ValueError: if `make` is or makes something else, or the network returns something else.
    """

    def __init__(
        self,
        setting: str,
        make: Callable[[], tf.Module],
        inputs: Sequence[int],
        outputs: Sequence[int | None],
    ):
        super().__init__(name=setting.rpartition(".")[2])
        if not callable(make) or isinstance(make, tf.Module):
            raise ValueError(
                f"{setting} must be a class or function that makes a network (in gin @Name, "
                f"without parentheses), got {make!r}"
            )
        self.network = make()
        if not isinstance(self.network, tf.Module):  # its variables would not be trained
            raise ValueError(
                f"{setting} must make a Keras layer or model, or a tf.Module, got {self.network!r}"
            )
        out = self.network(tf.zeros([2, *inputs]))
        if not (
            tf.is_tensor(out)
            and out.dtype.is_floating
            and out.shape.is_compatible_with([2, *outputs])
        ):
            there = f"{out.dtype.name} {out.shape}" if tf.is_tensor(out) else repr(out)
            wanted = ["E" if size is None else size for size in outputs]
            raise ValueError(
                f"{setting}: the network must map float32 {[2, *inputs]} to floats "
                f"[{', '.join(map(str, [2, *wanted]))}], got {there}"
            )
        self._inputs, self._outputs = tuple(inputs), tuple(out.shape[1:])

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Maps float32 [..., *inputs] to float32 [..., *outputs]."""
        flat, outer = _merge_leading(x, len(self._inputs))
        y = tf.cast(self.network(tf.ensure_shape(flat, [None, *self._inputs])), tf.float32)
        y = tf.reshape(y, tf.concat([outer, self._outputs], 0))
        return tf.ensure_shape(y, [*x.shape[: -len(self._inputs)], *self._outputs])

    def distribution(self, x: tf.Tensor) -> tfd.Distribution:
        """Returns Normal(mean, 1) of batch shape [...] and event shape [*outputs]."""
        return _UnitNormal(tfd.Normal(self(x), 1.0), len(self._outputs))
