"""CategoricalCEM: one-hot plans, hand-computed refits, and the optimum of a combinatorial score."""

import numpy as np
import pytest
import tensorflow as tf

from planet_tf import errors
from planet_tf.planning import CategoricalCEM
from planet_tf.seeds import RowSeeds

A = 3
SEEDS = tf.constant([[0, 1], [2, 3]])


def test_candidates_are_one_hot_with_the_probabilities():
    probabilities = tf.constant([[[0.5, 0.3, 0.2], [0.0, 0.0, 1.0]]])
    planner = CategoricalCEM(2, 20_000, 1, 1)
    candidates = planner.sample(probabilities, RowSeeds(SEEDS[:1])).numpy()
    assert candidates.shape == (1, 20_000, 2, A)
    np.testing.assert_array_equal(
        np.sort(candidates, -1), np.broadcast_to([0, 0, 1], (1, 20_000, 2, A))
    )
    np.testing.assert_allclose(candidates.mean(1), probabilities, atol=0.015)


def test_a_refit_is_the_smoothed_share_of_the_elites(variant):
    """One iteration: probabilities 0.7 of the elites' shares and 0.3 of a third."""
    planner = CategoricalCEM(horizon=2, candidates=10, elites=4, iterations=1, smoothing=0.3)

    worth = tf.constant([[1.0, 2.0, 4.0], [10.0, 20.0, 40.0]])  # equal only for equal candidates

    def run(seeds):
        def score(actions, _):
            return tf.reduce_sum(actions * worth, [-2, -1])

        plan = planner.plan(score, RowSeeds(seeds), A, {})
        sample_seeds, _ = RowSeeds(seeds).fold_in(0).split(2)
        return plan.actions, plan.std, planner.sample(tf.fill([2, 2, A], 1 / A), sample_seeds)

    actions, std, candidates = map(np.array, variant(run)(SEEDS))
    for row in range(2):
        order = np.argsort(-(candidates[row] * worth.numpy()).sum((-2, -1)))
        p = 0.7 * candidates[row][order[:4]].mean(0) + 0.3 / A
        np.testing.assert_allclose(std[row], np.sqrt(p * (1 - p)), atol=1e-5)
        np.testing.assert_array_equal(actions[row], np.eye(A)[p.argmax(-1)])


def test_the_optimum_of_a_combinatorial_score_is_found():
    """Five choices of four must spell 2 0 3 1 2; neighbours that fit count double."""
    target = tf.one_hot([2, 0, 3, 1, 2], 4)
    planner = CategoricalCEM(horizon=5, candidates=200, elites=20, iterations=10)

    @tf.function
    def plan(seeds):
        def score(actions, _):
            right = tf.reduce_sum(actions * target, -1)
            return tf.reduce_sum(right, -1) + 2 * tf.reduce_sum(
                right[..., 1:] * right[..., :-1], -1
            )

        return planner.plan(score, RowSeeds(seeds), 4, {}).actions

    actions = plan(tf.stack([tf.range(20), tf.fill([20], 5)], 1))  # 20 seeds
    np.testing.assert_array_equal(actions, np.broadcast_to(target, [20, 5, 4]))


def test_rows_are_planned_as_alone(variant):
    planner = CategoricalCEM(2, 10, 3, 2)

    def run(seeds):
        def score(actions, score_seeds):
            return actions[:, :, 0, 1] + 0.1 * score_seeds.normal([10])

        plan = planner.plan(score, RowSeeds(seeds), A, {})
        return plan.actions, plan.std

    together = variant(run)(SEEDS)
    for row in range(2):
        alone = variant(run)(SEEDS[row : row + 1])
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_allclose(a[row], b[0], atol=1e-6)


def test_nothing_is_planned_without_a_finite_score():
    plan = CategoricalCEM(2, 10, 3, 2).plan(
        lambda actions, _: tf.fill(tf.shape(actions)[:2], np.nan), RowSeeds(SEEDS), A, {}
    )
    assert np.all(np.isnan(plan.actions))


def test_wrong_settings_are_named():
    with pytest.raises(errors.ConfigError, match="CategoricalCEM.elites"):
        CategoricalCEM(candidates=3, elites=4)
    with pytest.raises(errors.ConfigError, match="CategoricalCEM.smoothing"):
        CategoricalCEM(smoothing=1.0)
