"""Custom networks instead of the usual encoder and decoder."""

from collections.abc import Callable, Sequence

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from planet_tf import errors
from planet_tf.models import fast_layers, networks


class CustomNetwork(tf.Module):
    """A custom network of [N, ...], applied to any number of leading dimensions.

    Args:
      setting: where it was given, such as 'WorldModel.encoder'; for errors.
      make: a class or function that makes it, without arguments: a Keras layer or model, or another
        tf.Module, that maps float32 [N, *inputs] to floats [N, *outputs].
      inputs: shape of one input.
      outputs: shape of one output; (None,): a vector of any size.

    Raises:
      ConfigError: if `make` is or makes something else, or the network returns something else.
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
            raise errors.ConfigError(
                f"{setting} must be a class or function that makes a network, got {make!r}",
                "in gin: @Name, without parentheses",
                setting,
            )
        self.network = make()
        if not isinstance(self.network, tf.Module):  # its variables would not be trained
            raise errors.ConfigError(
                f"{setting} must make a Keras layer or model, or a tf.Module, got {self.network!r}",
                setting=setting,
            )
        out = self.network(tf.zeros([2, *inputs]))
        _check_output(setting, out, inputs, outputs)
        self._inputs, self._outputs = tuple(inputs), tuple(out.shape[1:])

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Maps float32 [..., *inputs] to float32 [..., *outputs]."""
        return networks.over_leading(self._flat, x, len(self._inputs))

    def _flat(self, x: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.cast(self.network(x), tf.float32), [None, *self._outputs])

    def distribution(self, x: tf.Tensor) -> tfd.Distribution:
        """Returns Normal(mean, 1) with batch shape [...] and event shape [*outputs]."""
        return fast_layers.UnitNormal(tfd.Normal(self(x), 1.0), len(self._outputs))


def _check_output(setting: str, out, inputs, outputs) -> None:
    if tf.is_tensor(out) and out.dtype.is_floating and out.shape.is_compatible_with([2, *outputs]):
        return
    got = f"{out.dtype.name} {out.shape}" if tf.is_tensor(out) else repr(out)
    wanted = ", ".join("E" if size is None else str(size) for size in (2, *outputs))
    raise errors.ConfigError(
        f"{setting}: the network must map float32 {[2, *inputs]} to floats [{wanted}], got {got}",
        setting=setting,
    )
