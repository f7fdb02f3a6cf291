"""Open-loop predictions: what they see, what they say, how far off they are."""

import gin
import numpy as np
import pytest
import tensorflow as tf
from helpers import normal
from tensorflow_probability import distributions as tfd

from planet_tf import seeds
from planet_tf.models import WorldModel, open_loop

B, L, A = 2, 4, 2
SEED = tf.constant([5, 0])
TINY = """
Encoder.filters = (4, 8)
RSSMCell.stoch_size = 3
RSSMCell.deter_size = 5
RSSMCell.hidden_size = 6
Decoder.units = 8
Decoder.filters = (4,)
Decoder.kernel_sizes = (4, 4)
RewardHead.units = 6
"""


@pytest.fixture(scope="module")
def model():
    gin.parse_config(TINY)
    model = WorldModel(A, (20, 20, 3), image_size=10)
    gin.clear_config()
    random = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(random.normal(size=variable.shape) * 0.5)
    return model


@pytest.fixture(scope="module")
def batch():
    random = np.random.default_rng(1)
    return {
        "image": tf.constant(random.integers(0, 256, [B, L, 20, 20, 3]), tf.uint8),
        "action": tf.tanh(normal(1, B, L, A)),
        "reward": normal(2, B, L),
        "is_first": tf.constant([[True, False, False, False], [False, False, True, False]]),
    }


def changed(batch, key, steps, value):
    array = batch[key].numpy().copy()
    array[:, steps] = value
    return {**batch, key: tf.constant(array)}


def test_it_filters_its_context_then_imagines(model, batch):
    context = 3
    out = open_loop.predict(model, batch, context, SEED)
    observation_seed, stoch_seed, open_seed = seeds.split(SEED, 3)
    observation = model.preprocess_chunk(batch["image"], observation_seed)
    posterior, prior, states = model.observe(observation, batch, stoch_seed)
    noise = seeds.normal([B, L - context, 3], open_seed)
    last = {key: value[:, context - 1] for key, value in states.items()}
    ahead, imagined = model.cell.imagine(batch["action"][:, context:], noise, last)
    seen = {key: value[:, :context] for key, value in states.items()}
    feat = tf.concat([model.cell.features(part) for part in (seen, imagined)], 1)
    kl = [tfd.kl_divergence(posterior[:, :context], prior[:, :context])]
    kl += [tfd.kl_divergence(posterior[:, context:], ahead)]
    expected = {
        "target": observation,
        "observation": model.decoder(feat),
        "reward": model.reward(feat),
        "kl": tf.concat(kl, 1),
    }
    assert out.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(out[key], value, rtol=1e-4, atol=1e-4, err_msg=key)
    assert out["observation"].shape == (B, L, 10, 10, 3)


@pytest.mark.parametrize("context", [1, 3])
def test_it_ignores_images_and_rewards_after_the_context(model, batch, context):
    predict = tf.function(
        lambda batch: open_loop.predict(model, batch, context, SEED), autograph=False
    )
    out = predict(batch)
    other = changed(batch, "image", slice(context, None), 255)
    other = predict(changed(other, "reward", slice(context, None), 9.0))
    for key in ("observation", "reward"):
        np.testing.assert_array_equal(out[key], other[key])
    assert np.abs(out["target"] - other["target"])[:, context:].max() > 0.1
    assert np.abs(out["kl"] - other["kl"])[:, context:].max() > 1e-3
    # The last image of the context and the first action after it do matter.
    for key, step, value in (("image", context - 1, 255), ("action", context, 0.99)):
        other = predict(changed(batch, key, step, value))
        assert np.abs(out["observation"] - other["observation"])[:, context:].max() > 1e-3


@pytest.mark.parametrize("context", [-1, 0, L, L + 1])
def test_it_needs_something_to_see_and_to_predict(model, batch, context):
    with pytest.raises(ValueError, match=str(context)):
        open_loop.predict(model, batch, context, SEED)


def test_errors_by_hand(variant):
    target = np.zeros([1, 2, 2, 2, 3], np.float32)
    guess = target.copy()
    guess[0, 1, 0, 0] = 0.5  # one pixel of four: a mean square of 0.0625
    prediction = {
        "observation": tf.constant(guess),
        "target": tf.constant(target),
        "reward": tf.constant([[1.0, 2.0]]),
        "kl": tf.constant([[3.0, 4.0]]),
    }
    found = variant(open_loop.measure)(prediction, tf.constant([[0.5, 4.0]]))
    assert found.keys() == {"observation", "reward", "kl"}
    np.testing.assert_allclose(found["observation"], [[0, 0.25]])
    np.testing.assert_allclose(found["reward"], [[0.5, 2]])
    np.testing.assert_allclose(found["kl"], [[3, 4]])


def test_errors_of_states_are_over_components():
    prediction = {
        "observation": tf.constant([[[1.0, 5.0]]]),
        "target": tf.constant([[[1.0, 1.0]]]),
        "reward": tf.zeros([1, 1]),
        "kl": tf.zeros([1, 1]),
    }
    found = open_loop.measure(prediction, tf.zeros([1, 1]))
    np.testing.assert_allclose(found["observation"], [[np.sqrt(8)]])
