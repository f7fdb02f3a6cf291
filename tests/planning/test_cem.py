"""The cross-entropy method: algorithm 2 by hand, warm starts, broken scores."""

import gin
import numpy as np
import pytest
import tensorflow as tf

from planet_tf import errors
from planet_tf.planning import CEM
from planet_tf.seeds import RowSeeds

SMALL = CEM(horizon=2, candidates=30, elites=5, iterations=3)
A = 2


def row_seeds(rows, seed=0):
    return RowSeeds(tf.stack([tf.fill([rows], seed), tf.range(rows)], 1))


def toward(optimum):
    return lambda actions, _: -tf.reduce_sum(tf.square(actions - optimum), [-2, -1])


def noisy(optimum):
    """A score with randomness of its own."""

    def score(actions, seeds):
        noise = seeds.normal([actions.shape[1]])
        return toward(optimum)(actions, seeds) + 0.5 * noise

    return score


def test_a_plan_is_start_sample_and_refit_by_hand(variant):
    """As the notebook does it, to look at every iteration."""
    planner = CEM(horizon=2, candidates=30, elites=5, iterations=2)

    def both(seeds):
        seeds = RowSeeds(seeds)
        score = noisy(0.5)
        mean, std = planner.start(seeds, A, {})
        for i in range(planner.iterations):
            sample_seeds, score_seeds = seeds.fold_in(i).split(2)
            candidates = planner.sample(mean, std, sample_seeds)
            mean, std = planner.refit(candidates, score(candidates, score_seeds))
        return planner.plan(score, seeds, A, {})[:2], (mean, std)

    plan, by_hand = variant(both)(row_seeds(2).seeds)
    for one, other in zip(plan, by_hand, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
        assert one.shape == (2, 2, A) and np.all(one[0] != one[1])


def test_each_iteration_samples_from_the_last_fit():
    seen, seeds = [], row_seeds(1)

    def score(actions, score_seeds):
        seen.append((actions.numpy(), tuple(score_seeds.seeds[0].numpy())))
        return -tf.abs(actions[:, :, 0, 0] - 0.3)

    planner = CEM(horizon=2, candidates=40, elites=4, iterations=3)
    plan = planner.plan(score, seeds, A, {})
    mean, std = np.zeros([2, A]), np.ones([2, A])
    for i, (actions, _) in enumerate(seen):
        noise = seeds.fold_in(i).split(2)[0].normal([40, 2, A])[0].numpy()
        np.testing.assert_allclose(actions[0], np.clip(mean + std * noise, -1, 1), atol=1e-6)
        best = actions[0][np.argsort(np.abs(actions[0, :, 0, 0] - 0.3))[:4]]
        mean, std = best.mean(0), np.sqrt(best.var(0) + 1e-6)
    assert len(seen) == len({words for _, words in seen}) == 3  # new randomness for each
    np.testing.assert_allclose(plan.actions[0], mean, atol=1e-6)
    np.testing.assert_allclose(plan.std[0], std, atol=1e-6)


def test_a_warm_start_is_the_last_mean_one_step_ahead():
    planner = CEM(horizon=3, candidates=30, elites=5, iterations=2, warm_start=True, std=0.5)
    last = tf.reshape([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [1, 3, 2])
    mean, std = planner.start(row_seeds(1), A, {"mean": last})
    np.testing.assert_array_equal(mean[0], np.float32([[0.3, 0.4], [0.5, 0.6], [0, 0]]))
    np.testing.assert_array_equal(std, np.full([1, 3, 2], 0.5))
    plan = planner.plan(toward(0.3), row_seeds(1), A, {"mean": last})
    np.testing.assert_array_equal(plan.state["mean"], plan.actions)
    cold = CEM(horizon=3, std=0.5).start(row_seeds(1), A, {})
    np.testing.assert_array_equal(cold, [np.zeros([1, 3, 2]), np.full([1, 3, 2], 0.5)])


def test_candidates_are_clipped_normals():
    mean, std = tf.fill([1, 2, A], 0.5), tf.fill([1, 2, A], 2.0)
    normal = row_seeds(1).normal([30, 2, A])
    sample = SMALL.sample(mean, std, row_seeds(1))
    np.testing.assert_allclose(sample, np.clip(0.5 + 2 * normal, -1, 1), atol=1e-6)
    paper = CEM(candidates=30, elites=5, clip=False).sample(mean, std, row_seeds(1))
    np.testing.assert_allclose(paper, 0.5 + 2 * normal, atol=1e-6)
    assert np.abs(paper).max() > 2


def test_the_papers_spread_and_candidates_out_of_bounds():
    planner = CEM(horizon=1, candidates=4, elites=3, spread="mean_abs", clip=False)
    candidates = tf.reshape([0.0, 0.3, 3.0, -0.1], [1, 4, 1, 1])
    mean, spread = planner.refit(candidates, candidates[:, :, 0, 0])
    # Elites 0, 0.3 and 3: mean 1.1; deviations 1.1, 0.8 and 1.9 over K - 1 = 2.
    np.testing.assert_allclose([mean[0, 0, 0], spread[0, 0, 0]], [1.1, 1.9], atol=1e-6)


def test_no_iteration_leaves_mean_0_and_std_1():
    plan = CEM(horizon=3, iterations=0).plan(toward(1.0), row_seeds(2), 1, {})
    np.testing.assert_array_equal(plan[:2], [np.zeros([2, 3, 1]), np.ones([2, 3, 1])])


def test_one_iteration_without_finite_scores_leaves_no_plan(variant):
    """Whatever those before and after it score, also under XLA."""
    planner = CEM(horizon=2, candidates=9, elites=3, iterations=3)

    def run(broken, bad):
        seeds = row_seeds(2)
        bad_seeds = seeds.fold_in(broken).split(2)[1].seeds

        def score(actions, score_seeds):
            here = tf.reduce_all(score_seeds.seeds == bad_seeds)
            return tf.where(here, bad, 1.0) * tf.ones(actions.shape[:2])

        return planner.plan(score, seeds, A, {})[:2]

    function = variant(run)
    for broken in range(3):
        assert np.isnan(function(tf.constant(broken), tf.constant(np.nan))).all(), broken
    assert np.isnan(function(tf.constant(1), tf.constant(-np.inf))).all()
    assert np.isfinite(function(tf.constant(1), tf.constant(0.0))).all()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("horizon", 0),
        ("candidates", 0),
        ("elites", 0),
        ("iterations", -1),
        ("iterations", 2.5),
        ("spread", "mad"),
        ("clip", 1),
        ("warm_start", 1),
        ("std", 0.0),
    ],
)
def test_a_wrong_setting_is_named(setting, value):
    with pytest.raises(errors.ConfigError) as error:
        CEM(**{setting: value})
    assert error.value.setting == f"CEM.{setting}"
    assert str(value) in str(error.value)


def test_gin_sets_it_and_all_candidates_may_be_elites():
    gin.parse_config("CEM.candidates = 7\nCEM.elites = 7")
    assert CEM() == CEM(horizon=12, candidates=7, elites=7, iterations=10)
