"""The terms of the bound: closed forms, free nats, overshooting pair by pair."""

import numpy as np
import pytest
import tensorflow as tf

from planet_tf.models import losses, recurrence


def normal(mean, std):
    return recurrence.gaussian(tf.convert_to_tensor(mean), tf.convert_to_tensor(std))


def divergence(posterior, prior):
    return losses.observed_divergence(recurrence.Observed(posterior, prior, {}))


def test_divergence_of_one_dimension(variant):
    # log(s2 / s1) + (s1^2 + (m1 - m2)^2) / (2 s2^2) - 1/2 = log 2 + (1 + 9) / 8 - 1/2
    def run():
        return divergence(normal([[1.0]], [[1.0]]), normal([[-2.0]], [[2.0]]))

    np.testing.assert_allclose(variant(run)(), [np.log(2) + 0.75], atol=1e-5)


def test_divergence_is_the_closed_form_summed_over_stoch():
    rng = np.random.default_rng(0)
    m1, m2 = rng.normal(size=(2, 3, 4, 5))
    s1, s2 = rng.uniform(0.1, 2, size=(2, 3, 4, 5))
    expected = (np.log(s2 / s1) + (s1**2 + (m1 - m2) ** 2) / (2 * s2**2) - 0.5).sum(-1)
    actual = divergence(
        normal(*np.float32([m1, s1])),
        normal(*np.float32([m2, s2])),
    )
    assert actual.shape == (3, 4)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_divergence_is_of_the_posterior_from_the_prior():
    narrow, wide = normal([[0.0]], [[0.1]]), normal([[0.0]], [[1.0]])
    # KL(narrow || wide) = log 10 + 0.01 / 2 - 1/2; the other way round it is 47.2.
    np.testing.assert_allclose(divergence(narrow, wide), [np.log(10) - 0.495], atol=1e-5)


@pytest.mark.parametrize("balance", [1.0, 4.0])
def test_balance_scales_the_gradient_of_the_prior_alone(variant, balance):
    # KL = log(s2 / s1) + (s1^2 + (m1 - m2)^2) / (2 s2^2) - 1/2, at m1 = 1, s1 = 1, m2 = -2, s2 = 2
    parts = [tf.fill([1, 1, 1], x) for x in (1.0, 1.0, -2.0, 2.0)]

    def run(*parts):
        with tf.GradientTape() as tape:
            tape.watch(parts)
            m1, s1, m2, s2 = parts
            observed = recurrence.Observed(normal(m1, s1), normal(m2, s2), {})
            kl = losses.observed_divergence(observed, balance)
        return kl, tape.gradient(kl, parts)

    kl, gradients = variant(run)(*parts)
    np.testing.assert_allclose(kl, [[np.log(2) + 0.75]], rtol=1e-6)
    # (m1 - m2) / s2^2 and s1 / s2^2 - 1 / s1, then -(m1 - m2) / s2^2 and 1 / s2 - 10 / s2^3
    expected = [0.75, -0.75, -0.75 * balance, -0.75 * balance]
    np.testing.assert_allclose(np.ravel(gradients), expected, rtol=1e-6)


def test_free_nats_are_taken_element_by_element(variant):
    cost = variant(losses.over_free_nats)(tf.constant([[1.0, 7.0]]), 3.0)
    np.testing.assert_array_equal(cost, [[0.0, 4.0]])
    assert tf.reduce_mean(cost) == 2.0  # clamping the mean of 4 would leave 1


def test_no_gradient_within_the_free_nats():
    kl = tf.constant([1.0, 7.0])
    with tf.GradientTape() as tape:
        tape.watch(kl)
        cost = losses.over_free_nats(kl, 3.0)
    np.testing.assert_array_equal(tape.gradient(cost, kl), [0.0, 1.0])


@pytest.mark.parametrize(
    "scales, expected",
    [
        # mean(-image) = 20, mean(-reward) = 3, mean(kl) = 4, mean(max(0, kl - 3)) = 2
        ((1.0, 10.0, 1.0, 3.0), 20 + 30 + 2),
        ((0.5, 1.0, 100.0, 3.0), 10 + 3 + 200),
        ((1.0, 1.0, 1.0, 0.0), 20 + 3 + 4),
    ],
)
def test_negative_elbo_is_the_weighted_sum(variant, scales, expected):
    weights = losses.Weights(*scales)
    loss, terms = variant(lambda *terms: losses.negative_elbo(*terms, weights))(
        tf.constant([[-10.0], [-30.0]]),
        tf.constant([[-1.0], [-5.0]]),
        tf.constant([[1.0], [7.0]]),
    )
    assert loss.shape == ()
    np.testing.assert_allclose(loss, expected)
    unscaled = {"observation_loss": 20.0, "reward_loss": 3.0, "kl": 4.0}
    unscaled["kl_loss"] = 2.0 if weights.free_nats else 4.0
    assert {key: float(value) for key, value in terms.items()} == unscaled


def test_default_weights_are_the_releases():
    assert losses.Weights() == (1.0, 10.0, 1.0, 3.0)


def test_what_draws_nothing_has_no_divergence():
    nothing = recurrence.Observed(None, None, {"deter": tf.ones([2, 3, 4])})
    kl = losses.observed_divergence(nothing)
    np.testing.assert_array_equal(kl, np.zeros([2, 3]))


def linear_gaussian(a=0.8, b=0.5, std=0.3):
    """Priors of s' = a s + b action + std * normal, d steps ahead: mean and variance are known."""

    def imagine(action, state):
        mean, variance, means, stds = state["stoch"], 0.0, [], []
        for d in range(action.shape[1]):
            mean, variance = a * mean + b * action[:, d], a**2 * variance + std**2
            means.append(mean)
            stds.append(tf.fill(tf.shape(mean), np.float32(np.sqrt(variance))))
        return normal(tf.stack(means, 1), tf.stack(stds, 1))

    return imagine


def overshooting_by_hand(mean, std, action, is_first, distance, free_nats, a=0.8, b=0.5, s=0.3):
    """The definition, pair by pair."""
    total = []
    for row in range(mean.shape[0]):
        for t in range(mean.shape[1]):
            m, v = mean[row, t], 0.0  # the states are the posterior's means here
            for d in range(1, distance + 1):
                if t + d >= mean.shape[1] or is_first[row, t + d]:
                    break
                m, v = a * m + b * action[row, t + d], a**2 * v + s**2
                if d > 1:
                    q, p = std[row, t + d], np.sqrt(v)
                    gap = mean[row, t + d] - m
                    kl = np.log(p / q) + (q**2 + gap**2) / (2 * v) - 0.5
                    total.append(max(0.0, kl.sum() - free_nats))
    return np.mean(total)


@pytest.fixture
def chunk():
    random = np.random.default_rng(0)
    return {
        "mean": random.normal(size=[2, 6, 1]).astype(np.float32),
        "std": random.uniform(0.2, 1.0, [2, 6, 1]).astype(np.float32),
        "action": random.uniform(-1, 1, [2, 6, 1]).astype(np.float32),
        "is_first": np.array([[True] + 5 * [False], [False, False, True, False, False, False]]),
    }


def overshoot(chunk, distance, free_nats):
    chunk = {key: tf.convert_to_tensor(value) for key, value in chunk.items()}
    posterior = normal(chunk["mean"], chunk["std"])
    states = {"stoch": chunk["mean"]}
    args = chunk["action"], chunk["is_first"], linear_gaussian(), distance, free_nats
    return losses.overshooting(posterior, states, *args)


@pytest.mark.parametrize("distance, free_nats", [(2, 0.0), (3, 0.0), (3, 2.0), (9, 0.5)])
def test_overshooting_of_a_linear_model_is_the_closed_form(chunk, distance, free_nats):
    expected = overshooting_by_hand(**chunk, distance=distance, free_nats=free_nats)
    assert expected > 0.1
    np.testing.assert_allclose(overshoot(chunk, distance, free_nats), expected, rtol=1e-5)


def test_overshooting_is_the_same_compiled(chunk, variant):
    expected = overshooting_by_hand(**chunk, distance=3, free_nats=0.5)
    actual = variant(lambda chunk: overshoot(chunk, 3, 0.5))(
        {key: tf.constant(value) for key, value in chunk.items()}
    )
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_overshooting_without_pairs_is_0(chunk):
    alone = {**chunk, "is_first": np.ones([2, 6], bool)}
    assert overshoot(alone, 3, 0.0) == 0


def test_overshooting_stays_in_its_chunk_and_episode(chunk):
    expected = overshoot(chunk, 3, 0.0)
    padded = {
        key: np.concatenate([value, np.full([2, 1, 1], np.nan, np.float32)], 1)
        for key, value in chunk.items()
        if key != "is_first"
    }
    padded["is_first"] = np.concatenate([chunk["is_first"], [[True], [True]]], 1)
    np.testing.assert_allclose(overshoot(padded, 3, 0.0), expected, rtol=1e-6)
    with tf.GradientTape() as tape:
        mean = tf.constant(padded["mean"])
        tape.watch(mean)
        states = {"stoch": mean}
        posterior = normal(mean, tf.constant(padded["std"]))
        args = tf.constant(padded["action"]), tf.constant(padded["is_first"]), linear_gaussian()
        value = losses.overshooting(posterior, states, *args, 3, 0.0)
    assert np.isfinite(tape.gradient(value, mean)).all()


def test_overshooting_sends_no_gradient_to_its_targets(chunk):
    with tf.GradientTape() as tape:
        std = tf.constant(chunk["std"])
        tape.watch(std)
        mean = tf.constant(chunk["mean"])
        tape.watch(mean)
        states = {"stoch": tf.constant(chunk["mean"])}
        args = tf.constant(chunk["action"]), tf.constant(chunk["is_first"]), linear_gaussian()
        value = losses.overshooting(normal(mean, std), states, *args, 3, 0.0)
    assert tape.gradient(value, [mean, std]) == [None, None]


def test_global_divergence_is_from_a_standard_normal():
    kl = losses.global_divergence(normal(tf.constant([[[1.0, 0.0]]]), tf.constant([[[1.0, 2.0]]])))
    np.testing.assert_allclose(kl, [[0.5 + (-np.log(2) + 2 - 0.5)]], rtol=1e-6)
