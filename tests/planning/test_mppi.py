"""MPPI: weights, mean, std and the drawn elite, by hand."""

import numpy as np
import pytest
import tensorflow as tf

from planet_tf import errors
from planet_tf.planning import MPPI, mppi
from planet_tf.planning.elites import Elites
from planet_tf.seeds import RowSeeds


def one_step(*values):
    return tf.reshape(tf.constant(values, tf.float32), [1, -1, 1, 1])


def test_elites_are_weighted_by_their_scores():
    planner = MPPI(horizon=1, candidates=4, elites=3, temperature=2.0)
    candidates = one_step(0.5, -0.5, 0.1, 0.9)
    best = planner.weigh(candidates, tf.constant([[1.0, 1.0 + np.log(3) / 2, -9.0, np.nan]]))
    # exp(2 x difference): 1 for the best, 1/3 for the next, e^-21 for the third.
    weights = dict(zip(best.actions.numpy().ravel(), best.weights.numpy().ravel(), strict=True))
    expected = {0.5: 1 / 3, -0.5: 1.0, 0.1: 0.0}
    for action, weight in expected.items():
        np.testing.assert_allclose(weights[np.float32(action)], weight, atol=1e-6)
    mean = best.mean()
    np.testing.assert_allclose(mean, [[[-0.25]]], atol=1e-6)  # (-0.5 + 0.5 / 3) / (4 / 3)
    # (0.25^2 + 0.75^2 / 3) / (4 / 3) = 0.1875
    np.testing.assert_allclose(best.std(mean), [[[np.sqrt(0.1875 + 1e-6)]]], atol=1e-6)


def test_an_elite_is_drawn_with_the_probability_of_its_weight():
    rows = 4000
    actions = tf.tile(one_step(0.1, 0.2, 0.3), [rows, 1, 1, 1])
    weights = tf.tile(one_step(1.0, 0.25, 0.0), [rows, 1, 1, 1])
    seeds = RowSeeds(tf.stack([tf.zeros([rows], tf.int32), tf.range(rows)], 1))
    drawn = tf.function(mppi.draw)(Elites(actions, weights[:, :, 0, 0], weights), seeds)
    share = np.mean(np.isclose(drawn[:, 0, 0], 0.1))
    assert not np.any(np.isclose(drawn, 0.3))
    assert abs(share - 0.8) < 5 * np.sqrt(0.8 * 0.2 / rows)


def test_one_iteration_by_hand():
    planner = MPPI(horizon=2, candidates=20, elites=5, iterations=1, temperature=30.0, max_std=0.5)
    seeds, last = RowSeeds(tf.constant([[5, 6]])), tf.reshape([0.9, 0.4], [1, 2, 1])
    plan = planner.plan(
        lambda actions, _: -tf.reduce_sum(tf.square(actions - 0.3), [-2, -1]),
        seeds,
        1,
        {"mean": last},
    )
    noise = seeds.fold_in(0).split(3)[0].normal([20, 2, 1])[0, :, :, 0].numpy()
    candidates = np.clip(np.array([0.4, 0.0]) + 0.5 * noise, -1, 1)
    scores = -np.square(candidates - 0.3).sum(1)
    best = np.argsort(-scores)[:5]
    weights = np.exp(30 * (scores[best] - scores.max()))
    weights /= weights.sum()
    mean = weights @ candidates[best]
    std = np.sqrt(weights @ np.square(candidates[best] - mean))
    np.testing.assert_allclose(plan.state["mean"][0, :, 0], mean, atol=1e-5)
    np.testing.assert_allclose(plan.std[0, :, 0], np.clip(std, 0.05, 0.5), atol=1e-5)
    assert np.isclose(candidates[best], plan.actions[0, :, 0], atol=1e-6).all(1).any()


def test_std_stays_within_its_limits():
    planner = MPPI(horizon=1, candidates=50, elites=2, min_std=0.2, max_std=0.3)
    memory = {"mean": tf.zeros([1, 1, 1])}
    plan = planner.plan(
        lambda actions, _: -tf.abs(actions[:, :, 0, 0] - 0.5),
        RowSeeds(tf.constant([[0, 0]])),
        1,
        memory,
    )
    np.testing.assert_allclose(plan.std, [[[0.2]]], atol=1e-6)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("iterations", 0), ("temperature", 0.0), ("min_std", 3.0), ("max_std", 0.0)],
)
def test_a_wrong_setting_is_named(setting, value):
    with pytest.raises(errors.ConfigError) as error:
        MPPI(**{setting: value})
    assert error.value.setting == f"MPPI.{setting}"
