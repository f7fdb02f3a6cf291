"""What the latent models share, worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from helpers import normal, weights

from planet_tf.models import recurrence, rssm

B, D, H = 2, 5, 6


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_std_is_softplus_plus_the_least(variant):
    # softplus(0) = log 2, softplus(log(e^0.9 - 1)) = 0.9, softplus(-100) = 0
    out = tf.constant([[1.0, -2.0, 3.0, 0.0, np.log(np.exp(0.9) - 1), -100.0]])

    def run(out):
        return recurrence.mean_std(recurrence.gaussian_from(out, 0.1))

    mean, std = variant(run)(out)
    np.testing.assert_allclose(mean, [[1.0, -2.0, 3.0]])
    np.testing.assert_allclose(std, [[np.log(2) + 0.1, 1.0, 0.1]], atol=1e-6)
    distribution = recurrence.gaussian_from(out, 0.1)
    assert isinstance(distribution, tfp.distributions.Distribution)
    assert (distribution.batch_shape, distribution.event_shape) == ((1,), (3,))


def test_a_sample_carries_the_gradient_of_mean_and_std():
    noise = tf.constant([[0.5, -2.0]])
    parts = tf.constant([[1.0, 2.0]]), tf.constant([[0.1, 0.3]])
    with tf.GradientTape() as tape:
        tape.watch(parts)
        sample = recurrence.draw(recurrence.gaussian(*parts), noise)
    np.testing.assert_allclose(sample, [[1.05, 1.4]])
    of_mean, of_std = tape.gradient(sample, parts)
    np.testing.assert_array_equal(of_mean, [[1, 1]])
    np.testing.assert_array_equal(of_std, noise)


@pytest.fixture(scope="module")
def gru():
    """The GRU's layers with random weights."""
    layers = recurrence.gru_layers(D)
    recurrence.gru(*layers, tf.zeros([1, H]), tf.zeros([1, D]))
    random = np.random.default_rng(0)
    for layer in layers:
        layer.set_weights([random.normal(size=w.shape) * 0.7 for w in layer.get_weights()])
    return layers


def test_gru_resets_before_the_matmul(gru, variant):
    x, h = normal(0, B, H).numpy(), np.tanh(normal(1, B, D).numpy())
    (kernel, gate_bias), (candidate, bias) = (layer.get_weights() for layer in gru)
    (wr, wz), (ur, uz) = (np.split(part, 2, 1) for part in np.split(kernel, [H]))
    (br, bz), (wc, uc) = np.split(gate_bias, 2), np.split(candidate, [H])
    update, reset = sigmoid(x @ wz + h @ uz + bz), sigmoid(x @ wr + h @ ur + br)
    before = update * h + (1 - update) * np.tanh(x @ wc + (reset * h) @ uc + bias)
    after = update * h + (1 - update) * np.tanh(x @ wc + reset * (h @ uc) + bias)
    assert np.abs(before - after).max() > 0.01  # the weights tell the two apart
    actual = variant(lambda x, h: recurrence.gru(*gru, x, h))(tf.constant(x), tf.constant(h))
    np.testing.assert_allclose(actual, before, atol=1e-5)


def test_gru_of_two_units_by_hand():
    # No input; the candidate's matrix swaps the units; update 0, reset (1, 0).
    gates, candidate = recurrence.gru_layers(2)
    x, deter = tf.zeros([1, 1]), tf.constant([[0.5, 0.25]])
    recurrence.gru(gates, candidate, x, deter)
    np.testing.assert_array_equal(gates.bias, [1, 1, 1, 1])
    np.testing.assert_array_equal(candidate.bias, [0, 0])
    gates.set_weights([np.zeros([3, 4]), np.array([100, -100, -100, -100])])
    candidate.set_weights([np.array([[0, 0], [0, 1], [1, 0]]), np.zeros(2)])
    # Before: swap(1 * 0.5, 0 * 0.25) = (0, 0.5). After would be (1, 0) * swap(...) = (0.25, 0).
    actual = recurrence.gru(gates, candidate, x, deter)
    np.testing.assert_allclose(actual, [[0.0, np.tanh(0.5)]], atol=1e-6)


def test_gru_is_keras_gru_cell_in_value_and_gradient(gru):
    keras = tf.keras.layers.GRUCell(D, reset_after=False)
    keras.build([None, H])
    (gates, gate_bias), (candidate, bias) = (layer.get_weights() for layer in gru)

    def in_keras_order(gates, candidate):  # update, reset, candidate
        reset, update = np.split(gates, 2, -1)
        return np.concatenate([update, reset, candidate], -1)

    both = in_keras_order(gates, candidate)
    keras.set_weights([both[:H], both[H:], in_keras_order(gate_bias, bias)])
    x, deter = normal(0, B, H), tf.tanh(normal(1, B, D))
    results = []
    for function in (lambda: recurrence.gru(*gru, x, deter), lambda: keras(x, [deter])[0]):
        with tf.GradientTape() as tape:
            tape.watch((x, deter))
            new = function()
        results.append([new, *tape.gradient(new, [x, deter])])
    for actual, expected in zip(*results, strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_both_parts_of_a_split_layer_start_as_the_whole():
    context, embed = recurrence.split_layer(200, 200)
    embed(tf.zeros([1, 1024])), context(tf.zeros([1, 200]))
    limit = np.sqrt(6 / (200 + 1024 + 200))  # Glorot's of a layer with 1224 inputs
    for kernel in (context.kernel.numpy(), embed.kernel.numpy()):
        np.testing.assert_allclose(np.abs(kernel).max(), limit, rtol=0.01)
        np.testing.assert_allclose(kernel.std(), limit / np.sqrt(3), rtol=0.02)
    assert embed.bias is None
    np.testing.assert_array_equal(context.bias, np.zeros(200))


def test_relu_sum_by_hand(variant):
    found = variant(recurrence.relu_sum)(tf.constant([1.0, -1.0, -3.0]), tf.constant([1, 2, 1]))
    np.testing.assert_array_equal(found, [2, 1, 0])
    half = recurrence.relu_sum(tf.constant([1.0], tf.bfloat16), tf.constant([2.0]))
    assert half.dtype == tf.bfloat16


def test_rows_that_are_first_are_zero_even_if_they_were_nan(variant):
    state = {"deter": tf.constant([[1.0, np.nan], [3.0, np.nan]]), "stoch": tf.ones([2, 1])}
    action = tf.constant([[np.nan], [5.0]])
    first = tf.constant([[1.0], [0.0]])
    state, action = variant(recurrence.reset_rows)(state, action, first)
    np.testing.assert_array_equal(state["deter"], [[0, 0], [3, np.nan]])
    np.testing.assert_array_equal(state["stoch"], [[0], [1]])
    np.testing.assert_array_equal(action, [[0], [5]])
    assert recurrence.reset_rows(state, action, None) == (state, action)


def test_a_state_starts_from_zeros():
    state = recurrence.zero_state({"deter": 4, "stoch": 2}, tf.constant(3))
    np.testing.assert_array_equal(state["deter"], np.zeros([3, 4]))
    np.testing.assert_array_equal(state["stoch"], np.zeros([3, 2]))


def test_noise_of_a_chunk_depends_on_seed_and_shape_alone():
    chunk = tf.fill([2, 3, 7], np.nan)
    noise = recurrence.chunk_noise(chunk, 4, tf.constant([1, 2]))
    assert noise.shape == (2, 3, 4)
    np.testing.assert_array_equal(noise, recurrence.chunk_noise(chunk[..., :1], 4, [1, 2]))
    assert np.all(noise != recurrence.chunk_noise(chunk, 4, [1, 3]))
    assert recurrence.chunk_noise(chunk, 0, [1, 2]).shape == (2, 3, 0)

    @tf.function(input_signature=[tf.TensorSpec([None, None, 7])])
    def traced(chunk):
        drawn = recurrence.chunk_noise(chunk, 4, tf.constant([1, 2]))
        assert drawn.shape.as_list() == [None, None, 4]
        return drawn

    np.testing.assert_array_equal(traced(chunk), noise)


def test_flags_become_columns():
    column = recurrence.as_column(tf.constant([[True, False]]))
    assert column.dtype == tf.float32
    np.testing.assert_array_equal(column, [[[1], [0]]])


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("shape", [(B, 3, 3), (B + 1, 4, 3)])
def test_unroll_refuses_a_chunk_whose_parts_disagree(shape, static):
    cell = rssm.RSSMCell(3, 5, 6)
    with pytest.raises(ValueError):
        cell.imagine(tf.zeros([B, 4, 2]), tf.zeros(shape), cell.initial_state(B), static)
    assert not cell.built  # refused before anything is computed
    with pytest.raises(ValueError):
        cell.imagine(tf.zeros(shape), tf.zeros(shape), cell.initial_state(B + 2), static)


def test_weights_are_named_by_layer():
    # Checkpoints and summaries show these names.
    cell = rssm.RSSMCell(3, 5, 6)
    embed, action, noise = (tf.zeros([1, 1, size]) for size in (4, 2, 3))
    cell.observe(embed, action, tf.zeros([1, 1], bool), noise)
    layers = "transition_hidden gates candidate prior_hidden prior_out"
    layers += " posterior_context posterior_out"
    expected = {f"{layer}/{part}" for layer in layers.split() for part in ("kernel", "bias")}
    assert weights(cell).keys() == expected | {"posterior_embed/kernel"}
