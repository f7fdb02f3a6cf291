"""The networks: paper sizes, activations by hand, likelihoods."""

import numpy as np
import pytest
import tensorflow as tf
from helpers import normal

from planet_tf import errors
from planet_tf.models import networks

LOG_SQRT_2PI = 0.9189385332046727


def assign(layer, *values):
    """Sets all weights, in the order the layer applies them, to constants or arrays."""
    variables = [v for part in layer for v in part.weights]
    assert len(variables) == len(values)
    for variable, value in zip(variables, values, strict=True):
        variable.assign(tf.broadcast_to(tf.cast(value, tf.float32), variable.shape))


def randomise(variables, seed=0):
    rng = np.random.default_rng(seed)
    for variable in variables:
        variable.assign(rng.normal(size=variable.shape) * 0.3)


def sublayers(layer):
    return list(layer._flatten_layers(recursive=True, include_self=False))


def by_name(layer, *names):
    layers = {part.name: part for part in sublayers(layer)}
    assert sorted(layers) == sorted(names)
    return [layers[name] for name in names]


def test_encoder_at_paper_size():
    encoder = networks.Encoder()
    assert encoder(tf.zeros([2, 64, 64, 3])).shape == (2, 1024)
    assert encoder.count_params() == 690_144
    # 64 -> 31 -> 14 -> 6 -> 2: kernel 4, stride 2, no padding; 2 * 2 * 256 = 1024.
    kernels = [v.shape for v in encoder.variables if v.shape.rank == 4]
    assert kernels == [(4, 4, 3, 32), (4, 4, 32, 64), (4, 4, 64, 128), (4, 4, 128, 256)]


def test_decoder_at_paper_size():
    decoder = networks.Decoder()
    assert decoder(tf.zeros([2, 230])).shape == (2, 64, 64, 3)
    assert decoder.count_params() == 3_795_555
    kernels = {v.name.split("/")[-2]: v.shape for v in decoder.variables if "kernel" in v.name}
    assert kernels == {  # [height, width, out, in]
        "dense": (230, 1024),
        "deconv1": (5, 5, 128, 1024),
        "deconv2": (5, 5, 64, 128),
        "deconv3": (6, 6, 32, 64),
        "deconv4": (6, 6, 3, 32),
    }


def test_reward_head_at_paper_size():
    head = networks.RewardHead()
    assert head(tf.zeros([2, 230])).shape == (2,)
    assert head.count_params() == 250_201


def test_encoder_is_relu_throughout():
    # One pixel, 1x1 kernels: embed = relu(-relu(2 x - 1) + 3).
    encoder = networks.Encoder(filters=(1, 1), kernel_size=1)
    image = tf.reshape([-4.0, 1.0, 5.0], [3, 1, 1, 1])
    encoder(image)
    assign(by_name(encoder, "conv1", "conv2"), 2.0, -1.0, -1.0, 3.0)
    # 2 x - 1 = -9, 1, 9 -> 0, 1, 9 -> 3, 2, -6 -> 3, 2, 0
    np.testing.assert_array_equal(encoder(image), [[3.0], [2.0], [0.0]])


def test_encoder_correlates_with_stride_two_and_no_padding():
    # A kernel that picks the block's bottom right pixel.
    encoder = networks.Encoder(filters=(1,), kernel_size=2)
    image = tf.reshape(tf.range(25.0), [1, 5, 5, 1])
    encoder(image)
    kernel = tf.reshape([0.0, 0.0, 0.0, 1.0], [2, 2, 1, 1])
    assign(by_name(encoder, "conv1"), kernel, 0.5)
    np.testing.assert_array_equal(encoder(image), [[6.5, 8.5, 16.5, 18.5]])


def test_decoder_is_relu_between_a_linear_first_and_last_layer():
    # Constant 2x2 kernels at stride 2 do not overlap: every pixel is -3 relu(-relu(-x) + 1) - 1/2.
    decoder = networks.Decoder((8, 8, 1), units=1, filters=(1, 1), kernel_sizes=(2, 2, 2))
    feat = tf.constant([[-2.0], [3.0]])
    decoder(feat)
    layers = by_name(decoder, "dense", "deconv1", "deconv2", "deconv3")
    assign(layers, 1.0, 0.0, -1.0, 0.0, -1.0, 1.0, -3.0, -0.5)
    # x = -2: linear -2 -> relu(2) = 2 -> relu(-1) = 0 -> -0.5
    # x = +3: linear +3 -> relu(-3) = 0 -> relu(1) = 1 -> -3.5
    expected = np.ones([2, 8, 8, 1]) * np.reshape([-0.5, -3.5], [2, 1, 1, 1])
    np.testing.assert_array_equal(decoder(feat), expected)


def test_reward_head_is_relu_but_for_its_linear_last_layer():
    # mean = -3 relu(-relu(x) + 1) - 1/2
    head = networks.RewardHead(units=1, layers=2)
    feat = tf.constant([[-2.0], [0.5], [3.0]])
    head(feat)
    assign(by_name(head, "dense1", "dense2", "mean"), 1.0, 0.0, -1.0, 1.0, -3.0, -0.5)
    np.testing.assert_array_equal(head(feat), [-3.5, -2.0, -0.5])


def test_decoder_of_keras_layers_gives_the_same_image():
    decoder = networks.Decoder((10, 10, 2), units=8, filters=(5,), kernel_sizes=(4, 4))
    feat = normal(0, 3, 6)
    decoder(feat)
    randomise(decoder.variables)
    dense, deconv1, deconv2 = by_name(decoder, "dense", "deconv1", "deconv2")
    keras = tf.keras.Sequential(
        [
            tf.keras.layers.Dense(8),
            tf.keras.layers.Reshape([1, 1, 8]),
            tf.keras.layers.Conv2DTranspose(5, 4, 2, activation="relu"),
            tf.keras.layers.Conv2DTranspose(2, 4, 2),
        ]
    )
    keras(feat)
    keras.set_weights([*dense.get_weights(), *deconv1.get_weights(), *deconv2.get_weights()])
    np.testing.assert_allclose(decoder(feat), keras(feat), atol=1e-4)


def test_leading_dimensions_are_only_a_batch():
    encoder = networks.Encoder(filters=(4, 8))
    decoder = networks.Decoder((10, 10, 3), units=8, filters=(4,), kernel_sizes=(4, 4))
    head = networks.RewardHead(units=5, layers=1)
    image = normal(0, 2, 3, 10, 10, 3)
    feat = normal(1, 2, 3, 6)
    for layer, x, inner in ((encoder, image, 3), (decoder, feat, 1), (head, feat, 1)):
        chunk = layer(x)
        assert chunk.shape[:2] == (2, 3)
        flat = layer(tf.reshape(x, [6, *x.shape[-inner:]]))
        np.testing.assert_allclose(tf.reshape(chunk, flat.shape), flat, atol=1e-6)


def test_shapes_are_static_where_the_batch_is_unknown():
    encoder = networks.Encoder(filters=(4, 8))
    decoder = networks.Decoder((10, 10, 3), units=8, filters=(4,), kernel_sizes=(4, 4))

    @tf.function(input_signature=[tf.TensorSpec([None, None, 10, 10, 3])])
    def autoencode(image):
        embed = encoder(image)
        assert embed.shape.as_list() == [None, None, 8]
        mean = decoder(embed)
        assert mean.shape.as_list() == [None, None, 10, 10, 3]
        return mean

    assert autoencode(tf.zeros([2, 3, 10, 10, 3])).shape == (2, 3, 10, 10, 3)


def test_image_log_prob_is_of_a_unit_normal_summed_over_pixels():
    decoder = networks.Decoder((4, 4, 3), units=8, filters=(2,), kernel_sizes=(2, 2))
    feat = normal(0, 2, 5, 6)
    distribution = decoder.distribution(feat)
    assert distribution.batch_shape == (2, 5)
    assert distribution.event_shape == (4, 4, 3)
    np.testing.assert_allclose(distribution.mean(), decoder(feat), atol=1e-6)
    # Every one of the 48 values is off by 2: -1/2 * 2^2 - log sqrt(2 pi).
    expected = np.full([2, 5], 48 * (-2.0 - LOG_SQRT_2PI))
    np.testing.assert_allclose(distribution.log_prob(decoder(feat) + 2.0), expected, rtol=1e-5)


def test_reward_log_prob_is_of_a_unit_normal():
    head = networks.RewardHead(units=5, layers=1)
    feat = normal(0, 2, 5, 6)
    distribution = head.distribution(feat)
    assert distribution.batch_shape == (2, 5)
    assert distribution.event_shape == ()
    expected = np.full([2, 5], -0.5 * 3.0**2 - LOG_SQRT_2PI)
    np.testing.assert_allclose(distribution.log_prob(head(feat) - 3.0), expected, rtol=1e-5)


def test_state_log_prob_is_of_a_unit_normal_summed():
    decoder = networks.StateDecoder(state_size=4, units=5)
    feat = normal(0, 2, 5, 6)
    distribution = decoder.distribution(feat)
    assert (distribution.batch_shape, distribution.event_shape) == ((2, 5), (4,))
    expected = np.full([2, 5], 4 * (-2.0 - LOG_SQRT_2PI))
    np.testing.assert_allclose(distribution.log_prob(decoder(feat) + 2.0), expected, rtol=1e-5)


def test_state_encoder_is_relu_throughout():
    encoder = networks.StateEncoder(units=1, layers=2)
    state = tf.constant([[[-2.0], [0.5], [3.0]]])
    encoder(state)
    assign(by_name(encoder, "dense1", "dense2"), 1.0, 0.0, -1.0, 1.0)  # relu(-relu(x) + 1)
    np.testing.assert_array_equal(encoder(state), [[[1.0], [0.5], [0.0]]])


def test_continuation_is_a_probability():
    head = networks.ContinuationHead(units=1, layers=0)
    feat = tf.constant([[[-2.0], [0.0], [3.0]]])
    head(feat)
    assign(by_name(head, "mean"), 1.0, 1.0)
    logits = np.array([[-1.0, 1.0, 4.0]])
    distribution = head.distribution(feat)
    assert (distribution.batch_shape, distribution.event_shape) == ((1, 3), ())
    np.testing.assert_allclose(distribution.mean(), 1 / (1 + np.exp(-logits)), rtol=1e-5)
    expected = -np.log1p(np.exp(-logits))
    np.testing.assert_allclose(distribution.log_prob(tf.ones([1, 3])), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("filters", "kernel_sizes", "size"),
    [
        ((4,), (4, 5), 11),
        ((4, 4), (4, 4), 10),  # one kernel size too few
        ((4,), (2, 4, 4), 14),
        ((), (10,), 10),  # one layer alone
        ((4,), (1, 10), 10),
    ],
)
def test_a_decoder_that_misses_the_image_says_its_size(filters, kernel_sizes, size):
    with pytest.raises(errors.ConfigError) as error:
        networks.Decoder((10, 10, 3), units=8, filters=filters, kernel_sizes=kernel_sizes)
    assert error.value.setting == "Decoder.kernel_sizes"
    assert f"{size}x{size}" in str(error.value)
