"""Random shooting: the best of the drawn candidates, nothing else."""

import numpy as np
import pytest
import tensorflow as tf

from planet_tf import errors
from planet_tf.planning import RandomShooting
from planet_tf.seeds import RowSeeds

A = 2
PLANNER = RandomShooting(horizon=3, candidates=20)
SEEDS = tf.constant([[0, 1], [2, 3]])


def test_the_best_candidate_is_taken(variant):
    def run(seeds):
        seen = []

        def score(actions, score_seeds):
            seen.append(actions)
            return tf.reduce_sum(actions, [-2, -1]) + score_seeds.normal([20])

        plan = PLANNER.plan(score, RowSeeds(seeds), A, {})
        sample_seeds, score_seeds = RowSeeds(seeds).split(2)
        noise = sample_seeds.normal([20, 3, A])
        return plan.actions, plan.std, seen[0], noise, score_seeds.normal([20])

    actions, std, candidates, noise, of_score = map(np.array, variant(run)(SEEDS))
    np.testing.assert_allclose(candidates, np.clip(noise, -1, 1), atol=1e-6)
    best = (candidates.sum((2, 3)) + of_score).argmax(1)
    np.testing.assert_allclose(actions, candidates[[0, 1], best], atol=1e-6)
    np.testing.assert_array_equal(std, np.zeros([2, 3, A]))


def test_scores_that_are_not_finite_never_win(variant):
    def run(bad):
        def score(actions, _):
            first = actions[:, :, 0, 0]
            return tf.where(first > -0.5, bad, first)

        return PLANNER.plan(score, RowSeeds(SEEDS), A, {}).actions

    function = variant(run)
    for bad in (np.nan, np.inf, -np.inf):
        assert np.all(function(tf.constant(bad))[:, 0, 0] <= -0.5)


@pytest.mark.parametrize("setting", ["horizon", "candidates"])
def test_a_wrong_setting_is_named(setting):
    with pytest.raises(errors.ConfigError) as error:
        RandomShooting(**{setting: 0})
    assert error.value.setting == f"RandomShooting.{setting}"
