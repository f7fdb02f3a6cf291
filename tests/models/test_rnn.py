"""The RNN's step by hand, and training without all images."""

import gin
import numpy as np
import pytest
import tensorflow as tf
from helpers import normal, weights

from planet_tf import errors
from planet_tf.models import WorldModel, rnn

B, L, A, E, D, H = 2, 5, 2, 4, 5, 6


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.fixture(scope="module")
def cell():
    cell = rnn.RNNCell(deter_size=D, hidden_size=H)
    cell.posterior_step(cell.initial_state(1), normal(0, 1, A), normal(1, 1, E), tf.zeros([1, 0]))
    random = np.random.default_rng(0)
    for variable in cell.variables:
        variable.assign(random.normal(size=variable.shape) * 0.7)
    return cell


def test_a_step_by_hand(cell, variant):
    w = {name: variable.numpy() for name, variable in weights(cell).items()}
    deter, action, embed = (normal(i, B, n).numpy() for i, n in enumerate([D, A, E]))
    x = np.maximum(action @ w["transition_hidden/kernel"] + w["transition_hidden/bias"], 0)
    gates = sigmoid(np.concatenate([x, deter], -1) @ w["gates/kernel"] + w["gates/bias"])
    reset, update = np.split(gates, 2, -1)
    both = np.concatenate([x, reset * deter], -1)
    new = np.tanh(both @ w["candidate/kernel"] + w["candidate/bias"])
    predicted = update * deter + (1 - update) * new
    kernel = np.concatenate([w["posterior_context/kernel"], w["posterior_embed/kernel"]])
    hidden = np.concatenate([predicted, embed], -1) @ kernel + w["posterior_context/bias"]
    out = np.maximum(hidden, 0) @ w["posterior_out/kernel"] + w["posterior_out/bias"]
    gate, new = np.split(out, 2, -1)
    corrected = predicted + sigmoid(gate) * (np.tanh(new) - predicted)

    def run(deter, action, embed):
        state, noise = {"deter": deter}, tf.zeros([B, 0])
        _, ahead = cell.prior_step(state, action, noise)
        _, filtered = cell.posterior_step(state, action, embed, noise)
        inputs = {"projected": cell.posterior_embed(embed), "action": action, "noise": noise}
        out, _ = cell(inputs, (state,))
        return ahead["deter"], filtered["deter"], cell.features(out), cell.features(filtered)

    ahead, filtered, feat, alone = variant(run)(deter, action, embed)
    np.testing.assert_allclose(ahead, predicted, atol=1e-5)
    np.testing.assert_allclose(filtered, corrected, atol=1e-5)
    np.testing.assert_allclose(feat, predicted, atol=1e-5)  # the heads see no image of the step
    np.testing.assert_array_equal(alone, filtered)
    assert cell.stoch_size == 0 and cell.state_sizes == {"deter": D}


def test_what_is_hidden_is_not_seen(cell):
    chunk = {"action": normal(1, B, L, A), "noise": tf.zeros([B, L, 0])}
    chunk |= {"embed": normal(3, B, L, E), "is_first": tf.zeros([B, L], bool)}
    all_seen = cell.observe(**chunk).states["deter"]
    same = cell.observe(**chunk, seen=tf.ones([B, L], bool)).states["deter"]
    np.testing.assert_array_equal(all_seen, same)
    blind = cell.observe(**chunk, seen=tf.zeros([B, L], bool)).states["deter"]
    _, imagined = cell.imagine(chunk["action"], chunk["noise"], cell.initial_state(B))
    np.testing.assert_allclose(blind, imagined["deter"], atol=1e-6)
    # One image, hidden in row 0 alone.
    seen = np.ones([B, L], bool)
    seen[0, 2] = False
    partly = cell.observe(**chunk, seen=tf.constant(seen)).states["deter"]
    differs = np.abs(partly - all_seen).max(-1) > 1e-4
    np.testing.assert_array_equal(differs, [[False, False, True, True, True], [False] * 5])


def test_training_hides_a_fraction_of_the_images():
    settings = "RNNCell.deter_size = 5\nRNNCell.hidden_size = 6\nRNNCell.blind_fraction = "
    gin.parse_config(settings + "0.25")
    model = WorldModel(A, None, 3, latent="rnn")
    seen = np.array(model._hidden(tf.zeros([100, 50]), tf.constant([1, 2]))["seen"])
    assert abs(seen.mean() - 0.75) < 5 * np.sqrt(0.75 * 0.25 / 5000)
    assert np.any(seen != model._hidden(tf.zeros([100, 50]), tf.constant([1, 3]))["seen"])
    batch = {
        "state": normal(0, B, L, 3),
        "action": normal(1, B, L, A),
        "reward": normal(2, B, L),
        "is_first": tf.zeros([B, L], bool),
    }
    loss = tf.function(model.loss, autograph=False)
    assert len({float(loss(batch, tf.constant([0, i]))[0]) for i in range(4)}) > 1
    gin.parse_config(settings + "0.0")
    model = WorldModel(A, None, 3, latent="rnn")
    loss = tf.function(model.loss, autograph=False)
    assert len({float(loss(batch, tf.constant([0, i]))[0]) for i in range(4)}) == 1


def test_not_all_images_may_be_hidden():
    with pytest.raises(errors.ConfigError) as error:
        rnn.RNNCell(blind_fraction=1.0)
    assert error.value.setting == "RNNCell.blind_fraction"
