"""Custom networks: any leading dimensions, trained variables, and what is refused."""

import numpy as np
import pytest
import tensorflow as tf

from planet_tf import errors
from planet_tf.models.custom import CustomNetwork

LOG_SQRT_2PI = 0.9189385332046727


class Sum(tf.Module):
    """Maps [N, 2, 3] to [N, 1]: a weight times the sum."""

    def __init__(self):
        super().__init__()
        self.weight = tf.Variable(2.0)

    def __call__(self, x):
        return self.weight * tf.reduce_sum(x, [1, 2])[:, None]


def test_it_takes_any_leading_dimensions():
    custom = CustomNetwork("A.encoder", Sum, (2, 3), (None,))
    x = tf.reshape(tf.range(24.0), [1, 4, 2, 3])
    np.testing.assert_array_equal(custom(x), [[[30.0], [102.0], [174.0], [246.0]]])
    np.testing.assert_array_equal(custom(x[0, :2]), [[30.0], [102.0]])
    assert custom(x[:, :0]).shape == (1, 0, 1)
    assert custom.trainable_variables == (custom.network.weight,)

    @tf.function(input_signature=[tf.TensorSpec([None, None, 2, 3])])
    def graph(x):
        assert custom(x).shape.as_list() == [None, None, 1]
        return custom(x)

    np.testing.assert_array_equal(graph(x), custom(x))
    distribution = custom.distribution(x)
    assert (distribution.batch_shape, distribution.event_shape) == ((1, 4), (1,))
    expected = np.full([1, 4], -0.5 * 3.0**2 - LOG_SQRT_2PI)
    np.testing.assert_allclose(distribution.log_prob(custom(x) + 3.0), expected, rtol=1e-5)


def test_it_may_be_a_keras_model_in_16_bits():
    def make():
        layers = [tf.keras.layers.Flatten(), tf.keras.layers.Dense(6, dtype="mixed_bfloat16")]
        return tf.keras.Sequential([*layers, tf.keras.layers.Reshape([3, 2], dtype="bfloat16")])

    custom = CustomNetwork("A.decoder", make, (4, 5), (3, 2))
    assert len(custom.trainable_variables) == 2
    out = custom(tf.ones([2, 7, 4, 5]))
    assert (out.shape, out.dtype) == ((2, 7, 3, 2), tf.float32)


@pytest.mark.parametrize(
    ("make", "outputs", "got"),
    [
        (3, (None,), "3"),
        (tf.keras.layers.Flatten(), (None,), "Flatten"),  # in gin: with parentheses
        (lambda: lambda x: x, (None,), "<function"),
        (lambda: tf.keras.layers.Lambda(lambda x: x), (None,), "(2, 4, 5)"),
        (lambda: tf.keras.layers.Lambda(lambda x: x[0]), (None,), "(4, 5)"),
        (tf.keras.layers.Flatten, (4, 6), "(2, 20)"),
        (lambda: tf.keras.layers.Lambda(lambda x: tf.cast(x[0], tf.int32)), (5,), "int32"),
        (lambda: tf.keras.layers.Lambda(lambda x: [x, x]), (None,), "[<tf.Tensor"),
    ],
)
def test_what_is_no_such_network_is_named(make, outputs, got):
    with pytest.raises(errors.ConfigError) as error:
        CustomNetwork("A.encoder", make, (4, 5), outputs)
    assert error.value.setting == "A.encoder"
    assert got in error.value.message
