"""What all planners must do: find optima, keep rows apart, remember within an episode alone."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from planet_tf import errors
from planet_tf.planning import CEM, ICEM, MPPI, RandomShooting
from planet_tf.seeds import RowSeeds

H, A = 2, 2
SEEDS = 20
SIZES = {"horizon": H, "candidates": 300, "elites": 20}
PLANNERS = {
    "CEM": CEM(**SIZES, iterations=8),
    "CEM, warm start": CEM(**SIZES, iterations=8, warm_start=True, std=0.8),
    "ICEM": ICEM(**SIZES, iterations=5, std=0.8),
    "MPPI": MPPI(**SIZES, iterations=10, temperature=50.0),
    "RandomShooting": RandomShooting(H, 1000),
}
# Random shooting takes one of 1000 samples, MPPI one with a std of at least 0.05.
TOLERANCE = {"CEM": 0.02, "CEM, warm start": 0.1, "ICEM": 0.25, "MPPI": 0.3, "RandomShooting": 0.5}
SMALLER = {"candidates": 12, "elites": 6, "iterations": 2}
SMALL = {
    name: dataclasses.replace(
        planner, **{key: size for key, size in SMALLER.items() if hasattr(planner, key)}
    )
    for name, planner in PLANNERS.items()
}


@pytest.fixture(params=PLANNERS)
def name(request):
    return request.param


def row_seeds(rows, seed=0):
    return RowSeeds(tf.stack([tf.fill([rows], seed), tf.range(rows)], 1))


def no_memory(planner, rows):
    return {
        key: tf.zeros([rows, *spec.shape], spec.dtype)
        for key, spec in planner.state_spec(A).items()
    }


def toward(optimum):
    return lambda actions, _: -tf.reduce_sum(tf.square(actions - optimum), [-2, -1])


def plans(planner, score, rows=SEEDS):
    seeds, memory = row_seeds(rows).seeds, no_memory(planner, rows)
    function = tf.function(lambda s, m: planner.plan(score, RowSeeds(s), A, m), autograph=False)
    return function(seeds, memory)


OPTIMUM = np.float32([[0.3, -0.7], [-0.5, 0.1]])
BOUND = np.float32([[1.0, -1.0], [-1.0, 1.0]])


def test_the_optimum_is_found_in_20_of_20_seeds(name):
    planner = PLANNERS[name]
    seeds, memory = row_seeds(SEEDS).seeds, no_memory(planner, SEEDS)

    @tf.function(autograph=False)
    def plan(optimum):
        return planner.plan(toward(optimum), RowSeeds(seeds), A, memory).actions

    for optimum in (OPTIMUM, BOUND, 3 * BOUND):  # inside, at the bounds, beyond them
        found = plan(tf.constant(optimum))
        assert found.shape == (SEEDS, H, A)
        error = np.abs(found - np.clip(optimum, -1, 1)).max((1, 2))
        assert error.max() < TOLERANCE[name]


def test_of_two_optima_one_is_taken_in_20_of_20_seeds(name):
    """Not their mean, which is worth less than either."""

    def score(actions, seeds):
        return tf.maximum(toward(OPTIMUM)(actions, seeds), toward(-OPTIMUM)(actions, seeds))

    found = plans(PLANNERS[name], score).actions
    side = np.sign(np.sum(found * OPTIMUM, (1, 2), keepdims=True))
    assert set(side.ravel()) == {-1, 1}  # both, as neither is better
    assert np.abs(found - side * OPTIMUM).max() < TOLERANCE[name]


def test_actions_are_within_bounds(name):
    found = plans(SMALL[name], toward(3 * BOUND)).actions
    assert np.abs(found).max() <= 1


def test_rows_are_independent_and_memory_is_the_rows_own(name):
    planner = SMALL[name]

    @tf.function(reduce_retracing=True)
    def run(seeds, optimum, memory):
        def score(actions, score_seeds):
            luck = score_seeds.normal([1])
            return toward(optimum)(actions, score_seeds) + luck

        first = planner.plan(score, RowSeeds(seeds), A, memory)
        return planner.plan(score, RowSeeds(seeds).fold_in(1), A, first.state)

    optima = np.float32([0.5, -0.5, 0.9]).reshape(3, 1, 1, 1)
    seeds = row_seeds(3).seeds
    together = run(seeds, optima, no_memory(planner, 3))
    for row in range(3):
        one = slice(row, row + 1)
        alone = run(seeds[one], optima[one], no_memory(planner, 1))
        pairs = zip(tf.nest.flatten(alone), tf.nest.flatten(together), strict=True)
        for a, b in pairs:
            np.testing.assert_allclose(a[0], b[row], atol=1e-5)
    # A row that scores only NaN does no harm to its neighbours.
    broken = run(seeds, np.where(optima == -0.5, np.float32(np.nan), optima), no_memory(planner, 3))
    np.testing.assert_array_equal(broken.actions.numpy()[[0, 2]], together.actions.numpy()[[0, 2]])
    assert np.isnan(broken.actions[1]).all()


def test_one_graph_plans_any_number_of_rows(name):
    planner = SMALL[name]
    spec = tf.nest.map_structure(
        lambda s: tf.TensorSpec([None, *s.shape], s.dtype), planner.state_spec(A)
    )
    run = tf.function(
        lambda seeds, memory: planner.plan(toward(0.5), RowSeeds(seeds), A, memory),
        input_signature=[tf.TensorSpec([None, 2], tf.int32), spec],
    )
    three = run(row_seeds(3).seeds, no_memory(planner, 3))
    one = run(row_seeds(1).seeds, no_memory(planner, 1))
    assert three.actions.shape == (3, H, A)
    np.testing.assert_allclose(three.actions[:1], one.actions, atol=1e-6)
    assert set(three.state) == set(planner.state_spec(A))


def test_a_row_without_finite_scores_has_no_plan(name, variant):
    planner = SMALL[name]

    def run(bad):
        def score(actions, _):
            return tf.reshape([bad, 0.0], [2, 1]) * tf.ones(actions.shape[:2])

        return planner.plan(score, row_seeds(2), A, no_memory(planner, 2)).actions

    function = variant(run)
    for bad in (np.nan, np.inf, -np.inf):
        actions = function(tf.constant(bad))
        assert np.isnan(actions[0]).all() and np.isfinite(actions[1]).all()


def test_evaluations_are_the_scored_sequences(name):
    planner, scored = SMALL[name], []

    def score(actions, _):
        scored.append(actions.shape[1])
        return tf.reduce_sum(actions, [-2, -1])

    planner.plan(score, row_seeds(1), A, no_memory(planner, 1))
    assert sum(scored) == planner.evaluations


@pytest.mark.parametrize("planner", [CEM, ICEM, MPPI])
def test_more_elites_than_candidates_are_refused(planner):
    with pytest.raises(errors.ConfigError, match="must not exceed") as error:
        planner(candidates=9, elites=10)
    assert error.value.setting == f"{planner.__name__}.elites"
