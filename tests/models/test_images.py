"""Images for the model: 5 bits with noise, and averages of blocks."""

import numpy as np
import pytest
import tensorflow as tf

from planet_tf.analysis import pictures
from planet_tf.models import images

JUST_BELOW_ONE = np.float32(1) - np.float32(2**-17)  # survives the float32 addition to level 31


def preprocess(values, noise, function=images.preprocess):
    image = tf.constant(values, tf.uint8)[:, None, None]
    return function(image, tf.fill(image.shape, noise)).numpy()[:, 0, 0]


def test_bin_edges_without_noise(variant):
    # floor(x / 8) / 32 - 0.5
    values = [0, 7, 8, 15, 16, 128, 247, 248, 255]
    actual = preprocess(values, 0.0, variant(images.preprocess))
    expected = [-0.5, -0.5, -0.46875, -0.46875, -0.4375, 0.0, 0.4375, 0.46875, 0.46875]
    np.testing.assert_array_equal(actual, np.float32(expected))


def test_noise_fills_a_bin_and_no_more(variant):
    function = variant(images.preprocess)
    lower = preprocess([0, 7, 8, 255], 0.0, function)
    upper = preprocess([0, 7, 8, 255], JUST_BELOW_ONE, function)
    np.testing.assert_allclose(upper - lower, 1 / 32, atol=1e-6)
    assert (upper < lower + 1 / 32).all()
    np.testing.assert_array_equal(preprocess([0, 255], 0.5), np.float32([-0.484375, 0.484375]))


def test_values_are_within_a_half():
    largest = np.nextafter(np.float32(1), np.float32(0))
    every = np.arange(256)
    assert preprocess(every, 0.0).min() == -0.5
    assert preprocess(every, largest).max() <= 0.5


@pytest.mark.parametrize("dtype", [tf.float32, tf.int32])
def test_only_uint8_is_an_image(dtype):
    # Cast to uint8, an image that is already scaled would be black.
    with pytest.raises(TypeError, match=dtype.name):
        images.preprocess(tf.zeros([1, 2, 2, 3], dtype), tf.zeros([1, 2, 2, 3]))
    with pytest.raises(TypeError, match=dtype.name):
        images.downscale(tf.zeros([1, 4, 4, 3], dtype), 2)


def test_downscale_averages_blocks(variant):
    image = tf.constant(
        [[0, 2, 255, 255], [4, 6, 255, 254], [1, 0, 100, 0], [0, 0, 0, 1]], tf.uint8
    )
    # Sums 12, 1019, 1 and 101, a quarter of each, rounded.
    actual = variant(lambda image: images.downscale(image, 2))(image[None, ..., None])
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
    with pytest.raises(ValueError, match=f"{height}x{width}.*{size}x{size}"):
        images.downscale(tf.zeros([1, height, width, 3], tf.uint8), size)


@pytest.mark.parametrize("noise", [0.0, 0.5, JUST_BELOW_ONE])
def test_pictures_invert_it_to_within_the_bin(noise):
    every = np.arange(256)
    back = pictures.to_uint8(preprocess(every, noise))
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back // 8, every // 8)


def test_a_chunk_is_shifted_whole_and_its_border_repeated(variant):
    random = np.random.RandomState(0)
    image = random.randint(0, 256, [200, 2, 3, 4, 3]).astype(np.uint8)
    seed = tf.constant([1, 2])
    shifted = variant(lambda image: images.shift(image, 1, seed))(tf.constant(image)).numpy()
    assert shifted.dtype == np.uint8
    padded = np.pad(image, [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)], "edge")
    places = [(down, right) for down in range(3) for right in range(3)]
    counts = [
        sum(
            np.array_equal(shifted[chunk], padded[chunk, :, down : down + 3, right : right + 4])
            for chunk in range(200)
        )
        for down, right in places
    ]
    # Each chunk is at one of nine places, each place about equally often: 22 chunks, std 4.4.
    assert sum(counts) == 200 and min(counts) > 8 and max(counts) < 40


def test_shifts_are_decided_by_the_seed():
    image = tf.reshape(tf.cast(tf.range(2 * 3 * 64), tf.uint8), [2, 3, 8, 8, 1])
    first, again, other = (images.shift(image, 3, tf.constant([0, n])) for n in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
