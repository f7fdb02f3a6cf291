import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from planet_tf import losses

tfd = tfp.distributions

LOG_SQRT_2PI = 0.9189385332046727


def normal(mean, std):
    return tfd.Independent(tfd.Normal(tf.constant(mean), tf.constant(std)), 1)


def test_divergence_of_one_dimension():
    # log(s2 / s1) + (s1^2 + (m1 - m2)^2) / (2 s2^2) - 1/2 = log 2 + (1 + 9) / 8 - 1/2
    kl = losses.divergence(normal([[1.0]], [[1.0]]), normal([[-2.0]], [[2.0]]))
    np.testing.assert_allclose(kl, [np.log(2) + 0.75], atol=1e-5)


def test_divergence_is_the_closed_form_summed_over_stoch():
    rng = np.random.default_rng(0)
    m1, m2 = rng.normal(size=(2, 3, 4, 5))
    s1, s2 = rng.uniform(0.1, 2, size=(2, 3, 4, 5))
    expected = (np.log(s2 / s1) + (s1**2 + (m1 - m2) ** 2) / (2 * s2**2) - 0.5).sum(-1)
    actual = losses.divergence(
        normal(*np.float32([m1, s1])),
        normal(*np.float32([m2, s2])),
    )
    assert actual.shape == (3, 4)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_divergence_is_of_the_posterior_from_the_prior():
    narrow, wide = normal([[0.0]], [[0.1]]), normal([[0.0]], [[1.0]])
    # KL(narrow || wide) = log 10 + 0.01 / 2 - 1/2; the other way round it is 47.2.
    np.testing.assert_allclose(losses.divergence(narrow, wide), [np.log(10) - 0.495], atol=1e-5)


def test_free_nats_are_taken_element_by_element():
    cost = losses.over_free_nats(tf.constant([[1.0, 7.0]]), 3.0)
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
        (dict(image_scale=1.0, reward_scale=10.0, kl_scale=1.0, free_nats=3.0), 20 + 30 + 2),
        (dict(image_scale=0.5, reward_scale=1.0, kl_scale=100.0, free_nats=3.0), 10 + 3 + 200),
        (dict(image_scale=1.0, reward_scale=1.0, kl_scale=1.0, free_nats=0.0), 20 + 3 + 4),
    ],
)
def test_negative_elbo(scales, expected):
    loss, terms = losses.negative_elbo(
        tf.constant([[-10.0], [-30.0]]),
        tf.constant([[-1.0], [-5.0]]),
        tf.constant([[1.0], [7.0]]),
        **scales,
    )
    assert loss.shape == ()
    np.testing.assert_allclose(loss, expected)
    unscaled = {"image_loss": 20.0, "reward_loss": 3.0, "kl": 4.0}
    unscaled["kl_loss"] = 2.0 if scales["free_nats"] else 4.0
    assert {key: float(value) for key, value in terms.items()} == unscaled


def test_gaussian_log_prob_keeps_its_half_and_its_constant():
    # What the heads' log_prob must be: -1/2 (x - m)^2 - log sqrt(2 pi), summed over 2 x 2 x 3.
    image = tfd.Independent(tfd.Normal(tf.zeros([1, 2, 2, 3]), 1.0), 3)
    actual = image.log_prob(tf.fill([1, 2, 2, 3], 2.0))
    np.testing.assert_allclose(actual, [12 * (-2.0 - LOG_SQRT_2PI)], rtol=1e-6)
