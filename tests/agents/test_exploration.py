"""Exploration noise: a clipped Gaussian, its schedule, and NaN that stays visible."""

import gin
import numpy as np
import pytest
import tensorflow as tf

from planet_tf import errors
from planet_tf.agents import EpsilonGreedy, GaussianNoise
from planet_tf.seeds import RowSeeds

ROWS = tf.stack([tf.fill([2000], 7), tf.range(2000)], 1)


def test_it_adds_a_gaussian_per_row():
    @tf.function
    def run(rows):
        little = GaussianNoise(1e-3)(tf.fill([2000, 2], 0.5), RowSeeds(rows), tf.constant(0))
        return (little - 0.5) / 1e-3, RowSeeds(rows).normal([2])

    noise, normal = map(np.array, run(ROWS))
    assert abs(noise.mean()) < 5 / np.sqrt(noise.size)
    assert abs(noise.var() - 1) < 5 * np.sqrt(2 / noise.size)
    assert abs(np.corrcoef(noise.T)[0, 1]) < 5 / np.sqrt(2000)
    np.testing.assert_allclose(noise, normal, atol=2e-3)


def test_it_clips_and_keeps_nan(variant):
    def run(action, rows):
        return GaussianNoise(10.0)(action, RowSeeds(rows), tf.constant(0)), RowSeeds(rows).normal(
            [2]
        )

    action = tf.constant([[0.5, 1.0], [-0.2, np.nan], [np.nan, np.nan]])
    noisy, normal = variant(run)(action, ROWS[:3])
    np.testing.assert_allclose(noisy, np.clip(action + 10 * normal, -1, 1), atol=1e-5)
    np.testing.assert_array_equal(np.isnan(noisy), np.isnan(action))


def test_its_schedule_is_linear_then_constant(variant):
    gin.parse_config("GaussianNoise.final_std = 0.1\nGaussianNoise.updates = 100")
    noise = GaussianNoise()
    std_at = variant(noise.std_at)
    for updates, expected in ((0, 0.3), (50, 0.2), (100, 0.1), (1000, 0.1)):
        found = std_at(tf.constant(updates, tf.int64))
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert GaussianNoise(0.3, None).std_at(tf.constant(1000)) == 0.3


def test_updates_decide_the_noise():
    noise, action = GaussianNoise(0.0, 1e-2, 10), tf.zeros([3, 2])
    rows = RowSeeds(ROWS[:3])
    none, half, all_of_it = (noise(action, rows, tf.constant(n)) for n in (0, 5, 10))
    np.testing.assert_array_equal(none, action)
    np.testing.assert_allclose(half, all_of_it / 2, rtol=1e-5)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("std", -0.1), ("std", float("nan")), ("final_std", -0.1), ("updates", 0)],
)
def test_a_wrong_setting_is_named(setting, value):
    with pytest.raises(errors.ConfigError) as error:
        GaussianNoise(**{setting: value})
    assert error.value.setting == f"GaussianNoise.{setting}"


# Discrete actions.


def test_a_choice_is_replaced_with_a_probability():
    @tf.function
    def run(rows):
        return EpsilonGreedy(0.3)(tf.one_hot(tf.ones([2000], tf.int32), 3), RowSeeds(rows), 0)

    taken = run(ROWS).numpy()
    np.testing.assert_array_equal(np.sort(taken, -1), np.broadcast_to([0, 0, 1], taken.shape))
    # A third of the random choices is the planned one.
    np.testing.assert_allclose(taken.mean(0), [0.1, 0.8, 0.1], atol=0.03)


def test_without_epsilon_nothing_changes_and_nan_stays():
    action = tf.constant([[0.0, 1.0], [1.0, 0.0], [np.nan, np.nan]])
    np.testing.assert_array_equal(EpsilonGreedy(0.0)(action, RowSeeds(ROWS[:3]), 0), action)
    assert np.all(np.isnan(EpsilonGreedy(0.99)(action, RowSeeds(ROWS[:3]), 0)[2]))


def test_epsilon_has_the_same_schedule():
    explore = EpsilonGreedy(0.3, 0.1, 100)
    for updates, expected in ((0, 0.3), (50, 0.2), (1000, 0.1)):
        np.testing.assert_allclose(explore.epsilon_at(tf.constant(updates)), expected, rtol=1e-6)
