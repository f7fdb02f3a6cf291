import numpy as np
import pytest
import tensorflow as tf

from planet_tf import networks

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
    feat = tf.random.stateless_normal([3, 6], [0, 0])
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
    image = tf.random.stateless_normal([2, 3, 10, 10, 3], [0, 0])
    feat = tf.random.stateless_normal([2, 3, 6], [0, 1])
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
    decoder = networks.Decoder((4, 4, 3), units=8, filters=(), kernel_sizes=(4,))
    feat = tf.random.stateless_normal([2, 5, 6], [0, 0])
    distribution = decoder.distribution(feat)
    assert distribution.batch_shape == (2, 5)
    assert distribution.event_shape == (4, 4, 3)
    np.testing.assert_allclose(distribution.mean(), decoder(feat), atol=1e-6)
    # Every one of the 48 values is off by 2: -1/2 * 2^2 - log sqrt(2 pi).
    expected = np.full([2, 5], 48 * (-2.0 - LOG_SQRT_2PI))
    np.testing.assert_allclose(distribution.log_prob(decoder(feat) + 2.0), expected, rtol=1e-5)


def test_reward_log_prob_is_of_a_unit_normal():
    head = networks.RewardHead(units=5, layers=1)
    feat = tf.random.stateless_normal([2, 5, 6], [0, 0])
    distribution = head.distribution(feat)
    assert distribution.batch_shape == (2, 5)
    assert distribution.event_shape == ()
    expected = np.full([2, 5], -0.5 * 3.0**2 - LOG_SQRT_2PI)
    np.testing.assert_allclose(distribution.log_prob(head(feat) - 3.0), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "filters, kernel_sizes, layers, size",
    [((4,), (4, 5), 2, 11), ((4, 4), (4, 4), 3, 10), ((4,), (2, 4, 4), 2, 14)],
)
def test_decoder_that_misses_the_image_says_where_it_arrives(filters, kernel_sizes, layers, size):
    with pytest.raises(ValueError, match=f"{layers} layers and {size}x{size} pixels"):
        networks.Decoder((10, 10, 3), units=8, filters=filters, kernel_sizes=kernel_sizes)


class Sum(tf.Module):
    """Maps [N, 2, 3] to [N, 1]: a weight times the sum."""

    def __init__(self):
        super().__init__()
        self.weight = tf.Variable(2.0)

    def __call__(self, x):
        return self.weight * tf.reduce_sum(x, [1, 2])[:, None]


def test_a_network_of_ones_own_takes_any_leading_dimensions():
    own = networks.OwnNetwork("A.encoder", Sum, (2, 3), (None,))
    x = tf.reshape(tf.range(24.0), [1, 4, 2, 3])
    np.testing.assert_array_equal(own(x), [[[30.0], [102.0], [174.0], [246.0]]])
    np.testing.assert_array_equal(own(x[0, :2]), [[30.0], [102.0]])
    assert own(x[:, :0]).shape == (1, 0, 1)
    assert own.trainable_variables == (own.network.weight,)

    @tf.function(input_signature=[tf.TensorSpec([None, None, 2, 3])])
    def graph(x):
        assert own(x).shape.as_list() == [None, None, 1]
        return own(x)

    np.testing.assert_array_equal(graph(x), own(x))
    distribution = own.distribution(x)
    assert (distribution.batch_shape, distribution.event_shape) == ((1, 4), (1,))
    expected = np.full([1, 4], -0.5 * 3.0**2 - LOG_SQRT_2PI)
    np.testing.assert_allclose(distribution.log_prob(own(x) + 3.0), expected, rtol=1e-5)


def test_a_network_of_ones_own_may_be_a_keras_model_in_16_bits():
    def make():
        layers = [tf.keras.layers.Flatten(), tf.keras.layers.Dense(6, dtype="mixed_bfloat16")]
        return tf.keras.Sequential([*layers, tf.keras.layers.Reshape([3, 2], dtype="bfloat16")])

    own = networks.OwnNetwork("A.decoder", make, (4, 5), (3, 2))
    assert len(own.trainable_variables) == 2
    out = own(tf.ones([2, 7, 4, 5]))
    assert (out.shape, out.dtype) == ((2, 7, 3, 2), tf.float32)


@pytest.mark.parametrize(
    ("make", "outputs", "expected"),
    [
        (3, (None,), "A.encoder must be a class or function .*@Name, without parentheses.*got 3"),
        (tf.keras.layers.Flatten(), (None,), "without parentheses"),
        (lambda: lambda x: x, (None,), "must make a Keras layer or model, or a tf.Module, got <fu"),
        (lambda: tf.keras.layers.Lambda(lambda x: x), (None,), r"\[2, E\], got float32 \(2, 4, 5"),
        (lambda: tf.keras.layers.Lambda(lambda x: x[0]), (None,), r"\[2, E\], got .*\(4, 5\)"),
        (tf.keras.layers.Flatten, (4, 6), r"float32 \[2, 4, 5\] to floats \[2, 4, 6\], got .*20\)"),
        (lambda: tf.keras.layers.Lambda(lambda x: tf.cast(x[0], tf.int32)), (5,), "got int32"),
        (lambda: tf.keras.layers.Lambda(lambda x: [x, x]), (None,), r"got \[<tf.Tensor"),
    ],
)
def test_what_is_no_such_network_is_named(make, outputs, expected):
    with pytest.raises(ValueError, match=expected):
        networks.OwnNetwork("A.encoder", make, (4, 5), outputs)
