"""The fast layers are those of Keras and TFP, in value and gradient."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from helpers import normal

from planet_tf.models import fast_layers

tfd = tfp.distributions


def assert_same_as_keras(ours, keras, x, variant):
    """Compares values and gradients of two layers of the same weights."""
    ours(x), keras(x)
    random = np.random.default_rng(0)
    for variable in ours.weights:
        variable.assign(random.normal(size=variable.shape) * 0.3)
    keras.set_weights(ours.get_weights())
    weight = normal(1, *keras(x).shape)

    def run(layer):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            loss = tf.reduce_sum(y * weight)
        return [y, *tape.gradient(loss, [x, *layer.weights])]

    for actual, expected in zip(variant(lambda: run(ours))(), run(keras), strict=True):
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kernel_size, channels", [(5, 7), (2, 3)])
def test_pixel_conv_transpose_is_that_of_keras(variant, kernel_size, channels):
    assert_same_as_keras(
        fast_layers.PixelConvTranspose(6, kernel_size, 2, activation="relu"),
        tf.keras.layers.Conv2DTranspose(6, kernel_size, 2, activation="relu"),
        normal(0, 4, 1, 1, channels),
        variant,
    )


@pytest.mark.parametrize(
    ("kernel_size", "activation"), [(2, None), (3, "relu"), (5, "relu"), (6, None)]
)
def test_to_image_conv_transpose_is_that_of_keras(variant, kernel_size, activation):
    assert_same_as_keras(
        fast_layers.ToImageConvTranspose(3, kernel_size, 2, activation=activation),
        tf.keras.layers.Conv2DTranspose(3, kernel_size, 2, activation=activation),
        normal(0, 2, 5, 5, 4),
        variant,
    )


@pytest.mark.parametrize("size, channels", [(9, 3), (6, 5)])
def test_conv_is_that_of_keras(variant, size, channels):
    assert_same_as_keras(
        fast_layers.Conv(7, 4, 2, activation="relu"),
        tf.keras.layers.Conv2D(7, 4, 2, activation="relu"),
        normal(0, 3, size, size, channels),
        variant,
    )


@pytest.mark.parametrize("shape, inner", [([2, 5, 4, 4, 3], 3), ([7, 6], 1)])
def test_unit_normal_is_that_of_tfp(variant, shape, inner):
    mean, value = normal(0, *shape), normal(1, *shape)
    weight = normal(2, *shape[:-inner])

    def run(make):
        with tf.GradientTape() as tape:
            tape.watch((mean, value))
            distribution = make(tfd.Normal(mean, 1.0), inner)
            log_prob = distribution.log_prob(value)
            loss = tf.reduce_sum(log_prob * weight)
        return [distribution.mean(), log_prob, *tape.gradient(loss, [mean, value])]

    expected = run(tfd.Independent)
    for one, other in zip(variant(lambda: run(fast_layers.UnitNormal))(), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_unit_normal_keeps_its_half_and_its_constant():
    # -1/2 2^2 - log sqrt(2 pi), 12 times.
    image = fast_layers.UnitNormal(tfd.Normal(tf.zeros([1, 2, 2, 3]), 1.0), 3)
    expected = 12 * (-2.0 - 0.9189385332046727)
    np.testing.assert_allclose(image.log_prob(tf.fill([1, 2, 2, 3], 2.0)), [expected], rtol=1e-6)
