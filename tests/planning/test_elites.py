"""Elites and their statistics, worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf

from planet_tf.planning import elites, planner

FLOOR = 1e-6  # added to the variance


def one_step(*rows):
    """Candidates or scores of one step and one action: [B, J, 1, 1]."""
    return tf.reshape(tf.constant(rows, tf.float32), [len(rows), -1, 1, 1])


def statistics(candidates, scores, count):
    """Count, mean, std and mean absolute deviation of the elites, float32 [4, B]."""
    best = elites.select(candidates, scores[:, :, 0, 0], count)
    mean = best.mean()
    parts = best.count, mean, best.std(mean), best.mean_absolute_deviation(mean)
    return tf.stack([tf.reshape(part, [-1]) for part in parts])


@pytest.mark.parametrize(
    ("actions", "count", "mean", "variance", "deviation"),
    [
        ([0.6, -0.5, 1.0, 0.2], 2, 0.8, 0.2**2, 0.4 / 1),
        # 0, 0.3 and 0.9: off by 0.4, 0.1 and 0.5.
        ([0.0, 0.3, 0.9, -0.1], 3, 0.4, (0.16 + 0.01 + 0.25) / 3, 1.0 / 2),
        ([0.3, -0.2, 0.7, 0.1], 1, 0.7, 0.0, 0.0),
        ([1.0, 1.0, 1.0, -1.0], 3, 1.0, 0.0, 0.0),  # all agree: std 0.001
        ([0.5, -0.5], 2, 0.0, 0.25, 1.0 / 1),
    ],
)
def test_statistics_of_the_best_are_as_by_hand(actions, count, mean, variance, deviation):
    # The best candidates are those of the largest actions.
    found = statistics(one_step(actions), one_step(actions), count)
    expected = [[count], [mean], [np.sqrt(variance + FLOOR)], [deviation]]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_statistics_are_per_row_step_and_component():
    candidates = np.random.default_rng(0).uniform(-1, 1, [2, 6, 3, 2]).astype(np.float32)
    scores = tf.constant([[5, 4, 3, 2, 1, 0], [0, 1, 2, 3, 4, 5]], tf.float32)
    best = elites.select(tf.constant(candidates), scores, 4)
    mean = best.mean()
    assert best.actions.shape == (2, 4, 3, 2)
    for row, kept in enumerate((candidates[0, :4], candidates[1, 2:])):
        np.testing.assert_allclose(mean[row], kept.mean(0), atol=1e-6)
        np.testing.assert_allclose(best.std(mean)[row], np.sqrt(kept.var(0) + FLOOR), atol=1e-6)
        deviation = np.abs(kept - kept.mean(0)).sum(0) / 3
        np.testing.assert_allclose(best.mean_absolute_deviation(mean)[row], deviation, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_never_win(variant, bad):
    actions = [0.9, -0.2, 0.5, -0.4, 0.7, -0.9]
    # The candidates of positive actions; the finite scores are near the lowest there are.
    scores = [bad if action > 0 else (action - 1) * 1e38 for action in actions]
    function = variant(statistics)
    found = function(one_step(actions), one_step(scores), 3)
    std = np.sqrt((0.09 + 0.01 + 0.16) / 3 + FLOOR)
    np.testing.assert_allclose(found, [[3], [-0.5], [std], [0.8 / 2]], atol=1e-6)
    # With fewer finite ones than elites, the finite ones are all the elites.
    actions, scores = actions[:4] + [0.7, 0.8], scores[:4] + [bad, bad]
    found = function(one_step(actions), one_step(scores), 3)
    expected = [[2], [-0.3], [np.sqrt(0.01 + FLOOR)], [0.2 / 1]]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_no_finite_score_is_nan_in_its_row_alone(variant):
    scores = one_step([np.nan, np.inf, -np.inf], [0.0, 1.0, 2.0])
    candidates = one_step([0.1, 0.2, 0.3], [-0.2, 0.4, 0.6])
    found = variant(statistics)(candidates, scores, 2)
    np.testing.assert_array_equal(found[0], [0, 2])
    assert np.isnan(found[1:3, 0]).all()
    np.testing.assert_allclose(found[1:, 1], [0.5, np.sqrt(0.01 + FLOOR), 0.2], atol=1e-6)


def test_clip_keeps_nan(variant):
    clipped = variant(planner.clip)(tf.constant([-np.inf, -2, -1, 0.5, 1, 7, np.inf, np.nan]))
    np.testing.assert_array_equal(clipped, [-1, -1, -1, 0.5, 1, 1, 1, np.nan])
