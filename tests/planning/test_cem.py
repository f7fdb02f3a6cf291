"""The cross-entropy method: golden optima, algorithm 2 by hand, broken scores."""

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


@pytest.mark.parametrize("shift", [0.0, -1000.0])
def test_the_optimum_is_found_in_20_of_20_seeds(shift):
    optima = np.float32([[0.3, -0.7], [1.0, -1.0], [-1.0, 0.3], [0.0, 0.99]])
    optima = np.stack([optima, optima[:, ::-1], 0 * optima + [0.1, -0.2]], 1)  # [4, H, A]
    optima = np.repeat(optima, 20, 0).astype(np.float32)[:, None]
    plan = tf.function(
        lambda optima: CEM(horizon=3).plan(
            lambda actions, seeds: toward(optima)(actions, seeds) + shift, row_seeds(80), A, {}
        )
    )(optima)
    assert plan.actions.shape == plan.std.shape == (80, 3, A)
    assert plan.state == {}
    error = np.abs(plan.actions - optima[:, 0]).max((1, 2))
    assert error.max() < 0.05


def test_an_optimum_out_of_bounds_is_met_at_the_bound():
    plan = tf.function(lambda: CEM(horizon=2).plan(toward(3.0), row_seeds(2), A, {}))()
    np.testing.assert_allclose(plan.actions, np.ones([2, 2, A]), atol=1e-3)


def test_a_plan_is_start_sample_and_refit_by_hand(variant):
    """As the notebook does it, to look at every iteration."""
    planner = CEM(horizon=2, candidates=30, elites=5, iterations=2)

    def both(seeds):
        seeds = RowSeeds(seeds)
        score = noisy(0.5)
        mean, std = planner.start(seeds, A)
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


def test_rows_are_independent():
    @tf.function(reduce_retracing=True)
    def run(seeds, optimum):
        return SMALL.plan(noisy(optimum), RowSeeds(seeds), A, {})[:2]

    optimum = np.float32([0.5, -0.5, 0.9]).reshape(3, 1, 1, 1)
    seeds = row_seeds(3).seeds
    together = run(seeds, optimum)
    for row in range(3):
        alone = run(seeds[row : row + 1], optimum[row : row + 1])
        for a, b in zip(alone, together, strict=True):
            np.testing.assert_allclose(a[0], b[row], atol=1e-5)
    # A row that scores only NaN does no harm to its neighbours.
    broken = run(seeds, np.where(optimum == -0.5, np.float32(np.nan), optimum))
    for a, b in zip(broken, together, strict=True):
        np.testing.assert_array_equal(a.numpy()[[0, 2]], b.numpy()[[0, 2]])
        assert np.isnan(a[1]).all()


def test_one_graph_plans_any_number_of_rows():
    signature = [tf.TensorSpec([None, 2], tf.int32)]
    run = tf.function(
        lambda seeds: SMALL.plan(toward(0.5), RowSeeds(seeds), A, {})[:2],
        input_signature=signature,
    )
    shapes = run.get_concrete_function().output_shapes
    assert [shape.as_list() for shape in shapes] == [[None, 2, A]] * 2
    three, one = run(row_seeds(3).seeds), run(row_seeds(1).seeds)
    np.testing.assert_allclose(three[0][:1], one[0], atol=1e-6)


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
        ("elites", 1001),  # more than there are candidates
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
