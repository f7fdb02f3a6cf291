import numpy as np
import pytest
import tensorflow as tf

from planet_tf import images, world_model

JUST_BELOW_ONE = np.float32(1) - np.float32(2**-17)  # survives the float32 addition to level 31


def preprocess(values, noise, **kwargs):
    image = tf.constant(values, tf.uint8)[:, None, None]
    return images.preprocess(image, tf.fill(image.shape, noise), **kwargs).numpy()[:, 0, 0]


def test_bin_edges_without_noise():
    # floor(x / 8) / 32 - 0.5
    actual = preprocess([0, 7, 8, 15, 16, 128, 247, 248, 255], 0.0)
    expected = [-0.5, -0.5, -0.46875, -0.46875, -0.4375, 0.0, 0.4375, 0.46875, 0.46875]
    np.testing.assert_array_equal(actual, np.float32(expected))


def test_noise_fills_a_bin_and_no_more():
    lower = preprocess([0, 7, 8, 255], 0.0)
    upper = preprocess([0, 7, 8, 255], JUST_BELOW_ONE)
    np.testing.assert_allclose(upper - lower, 1 / 32, atol=1e-6)
    assert (upper < lower + 1 / 32).all()
    np.testing.assert_array_equal(preprocess([0, 255], 0.5), np.float32([-0.484375, 0.484375]))


def test_range():
    largest = np.nextafter(np.float32(1), np.float32(0))
    every = np.arange(256)
    assert preprocess(every, 0.0).min() == -0.5
    assert preprocess(every, largest).max() <= 0.5


@pytest.mark.parametrize("dtype", [tf.float32, tf.int32])
def test_preprocess_refuses_all_but_uint8(dtype):
    with pytest.raises(TypeError, match="uint8.*" + dtype.name):
        images.preprocess(tf.zeros([1, 2, 2, 3], dtype), tf.zeros([1, 2, 2, 3]))


def test_noise_depends_on_the_seed_alone():
    shape = [50, 8, 8, 3]
    one, same, other = (world_model.stateless_uniform(shape, [3, s]).numpy() for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.mean(one == other) < 0.01
    assert one.min() >= 0 and one.max() < 1
    # Uniform: mean 1/2 and variance 1/12 to within 5 of their standard errors.
    assert abs(one.mean() - 1 / 2) < 5 * np.sqrt(1 / 12 / one.size)
    assert abs(one.var() - 1 / 12) < 5 * np.sqrt(1 / 180 / one.size)


def test_downscale_averages_blocks():
    image = tf.constant(
        [[0, 2, 255, 255], [4, 6, 255, 254], [1, 0, 100, 0], [0, 0, 0, 1]], tf.uint8
    )
    # Sums 12, 1019, 1 and 101, a quarter of each, rounded.
    actual = images.downscale(image[None, ..., None], 2)
    assert actual.dtype == tf.uint8
    np.testing.assert_array_equal(actual[0, ..., 0], [[3, 255], [0, 25]])


def test_downscale_keeps_leading_dimensions_and_channels_apart():
    values = tf.reshape(tf.range(18), [2, 3, 1, 1, 3])
    image = tf.cast(values * tf.ones([2, 3, 4, 4, 3], tf.int32), tf.uint8)
    actual = images.downscale(image, 1)
    np.testing.assert_array_equal(actual[:, :, 0, 0], np.arange(18).reshape(2, 3, 3))
    assert images.downscale(image[0, 0], 2).shape == (2, 2, 3)


def test_downscale_to_the_same_size_is_the_image():
    image = tf.cast(tf.reshape(tf.range(96), [2, 4, 4, 3]), tf.uint8)
    np.testing.assert_array_equal(images.downscale(image, 4), image)


def test_downscale_of_an_oblong_image():
    # Blocks [0 4], [2 6], [4 8], [6 10].
    image = tf.constant([[0, 4, 2, 6], [4, 8, 6, 10]], tf.uint8)
    actual = images.downscale(image[None, ..., None], 2)
    np.testing.assert_array_equal(actual[0, ..., 0], [[2, 4], [6, 8]])


@pytest.mark.parametrize("height, width, size", [(6, 6, 4), (4, 4, 8), (4, 6, 4), (6, 4, 4)])
def test_downscale_refuses_what_does_not_fit(height, width, size):
    with pytest.raises(ValueError, match=f"{height}x{width} image down to {size}x{size}"):
        images.downscale(tf.zeros([1, height, width, 3], tf.uint8), size)


def test_downscale_refuses_float_images():
    # Cast to uint8 they would pass `preprocess` and be black.
    with pytest.raises(TypeError, match="uint8.*float32"):
        images.downscale(tf.zeros([1, 4, 4, 3]), 2)


@pytest.mark.parametrize("noise", [0.0, 0.5, JUST_BELOW_ONE])
def test_to_uint8_inverts_preprocess_to_within_the_bin(noise):
    every = np.arange(256)
    back = images.to_uint8(tf.constant(preprocess(every, noise)))
    assert back.dtype == tf.uint8
    np.testing.assert_array_equal(back.numpy() // 8, every // 8)


def test_to_uint8_clips():
    actual = images.to_uint8(tf.constant([-7.0, -0.5, 0.0, 0.5, 7.0]))
    np.testing.assert_array_equal(actual, [0, 0, 128, 255, 255])
