"""Each convolution is that of Keras, in value and gradient."""

import numpy as np
import pytest
import tensorflow as tf

from planet_tf import convolutions


def assert_same_as_keras(ours, keras, x, compile=lambda f: f):
    """Compares values and gradients of two layers of the same weights."""
    ours(x), keras(x)
    random = np.random.default_rng(0)
    for variable in ours.weights:
        variable.assign(random.normal(size=variable.shape) * 0.3)
    keras.set_weights(ours.get_weights())
    weight = tf.random.stateless_normal(keras(x).shape, [0, 1])

    def run(layer):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            loss = tf.reduce_sum(y * weight)
        return [y, *tape.gradient(loss, [x, *layer.weights])]

    for actual, expected in zip(compile(lambda: run(ours))(), run(keras), strict=True):
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kernel_size, channels", [(5, 7), (2, 3)])
def test_transposed_convolution_of_one_pixel_as_a_matmul(kernel_size, channels):
    assert_same_as_keras(
        convolutions.PixelConvTranspose(6, kernel_size, 2, activation="relu"),
        tf.keras.layers.Conv2DTranspose(6, kernel_size, 2, activation="relu"),
        tf.random.stateless_normal([4, 1, 1, channels], [0, 0]),
    )


@pytest.mark.parametrize("kernel_size", [2, 3, 5, 6])
@pytest.mark.parametrize("activation", [None, "relu"])
def test_transposed_convolution_to_an_image_is_the_general_one(kernel_size, activation):
    assert_same_as_keras(
        convolutions.ToImageConvTranspose(3, kernel_size, 2, activation=activation),
        tf.keras.layers.Conv2DTranspose(3, kernel_size, 2, activation=activation),
        tf.random.stateless_normal([2, 5, 5, 4], [0, 0]),
    )


@pytest.mark.parametrize("size, channels", [(9, 3), (6, 5)])
def test_convolution_is_that_of_keras(size, channels):
    assert_same_as_keras(
        convolutions.Conv(7, 4, 2, activation="relu"),
        tf.keras.layers.Conv2D(7, 4, 2, activation="relu"),
        tf.random.stateless_normal([3, size, size, channels], [0, 0]),
        compile=tf.function,  # the operations are fused in a graph alone
    )
