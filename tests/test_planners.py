import numpy as np
import pytest
import tensorflow as tf

from planet_tf import planners

FLOOR = 1e-6  # added to the variance


def seeded(batch_size, seed):
    """Noise of a whole batch, drawn afresh in every iteration."""

    def noise(shape, i):
        return tf.random.stateless_normal((batch_size, *shape), tf.stack([seed, i]))

    return noise


def toward(optimum):
    return lambda actions, i: -tf.reduce_sum(tf.square(actions - optimum), [-2, -1])


def replay(*draws):
    """Noise that is given: draws[i] [J] of one row, one step and one action."""
    draws = tf.reshape(tf.constant(draws, tf.float32), [len(draws), 1, -1, 1, 1])
    return lambda shape, i: tf.ensure_shape(draws[i], [1, *shape])


def plan(evaluate, *draws, elites):
    """A plan of one row, one step and one action from given draws."""
    size = dict(batch_size=1, action_size=1, horizon=1)
    counts = dict(candidates=len(draws[0]), elites=elites, iterations=len(draws))
    mean, std = planners.cem(evaluate, replay(*draws), **size, **counts)
    assert mean.shape == std.shape == (1, 1, 1)
    return float(mean[0, 0, 0]), float(std[0, 0, 0])


def first(actions, i):
    return actions[:, :, 0, 0]


@pytest.mark.parametrize("optimum", [[0.3, -0.7], [1.0, -1.0], [-1.0, 0.3], [0.0, 0.99]])
@pytest.mark.parametrize("shift", [0.0, -1000.0])
def test_finds_the_optimum_in_20_of_20_seeds(optimum, shift):
    rows, optimum = 20, np.float32([optimum, optimum[::-1], [0.1, optimum[0]]])
    size = dict(batch_size=rows, action_size=2, horizon=3)
    score = toward(optimum)
    # Every row is a plan of its own draws: 20 seeds in one call.
    mean, std = planners.cem(lambda a, i: score(a, i) + shift, seeded(rows, 0), **size)
    assert mean.shape == std.shape == (rows, 3, 2)
    error = np.abs(mean - optimum).max((1, 2))
    assert (error < 0.05).sum() == rows, error


def test_an_optimum_out_of_bounds_is_met_at_the_bound():
    mean, _ = planners.cem(toward(3.0), seeded(2, 0), 2, 2, horizon=2)
    np.testing.assert_allclose(mean, np.ones([2, 2, 2]), atol=1e-3)


def test_first_candidates_are_clipped_standard_normals_before_they_are_scored():
    seen = []

    def evaluate(actions, i):
        seen.append(actions.numpy().ravel())
        return first(actions, i)

    plan(evaluate, [-3.0, -0.5, 0.25, 1.5], elites=2)
    np.testing.assert_array_equal(seen, [[-1.0, -0.5, 0.25, 1.0]])


def test_refit_is_the_elites_mean_and_population_std():
    # The two best of -0.5, 0.2, 0.6 and 1 (clipped): mean 0.8, deviations 0.2 and 0.2.
    mean, std = plan(first, [0.6, -0.5, 3.0, 0.2], elites=2)
    np.testing.assert_allclose(mean, 0.8, atol=1e-6)
    np.testing.assert_allclose(std, np.sqrt(0.2**2 + FLOOR), atol=1e-6)
    # Elites 0, 0.3 and 0.9: mean 0.4, population variance (0.16 + 0.01 + 0.25) / 3 = 0.14.
    mean, std = plan(first, [0.0, 0.3, 0.9, -0.1], elites=3)
    np.testing.assert_allclose([mean, std], [0.4, np.sqrt(0.14 + FLOOR)], atol=1e-6)


def test_second_iteration_samples_from_the_first_fit():
    seen = []

    def evaluate(actions, i):
        seen.append((int(i), actions.numpy().ravel()))
        return first(actions, i)

    mean, std = plan(evaluate, [0.6, -0.5, 3.0, 0.2], [0.0, 0.5, -1.0, 2.0], elites=2)
    # Mean 0.8, std 0.2: 0.8, 0.9, 0.6 and 1.2, clipped.
    assert [i for i, _ in seen] == [0, 1]
    np.testing.assert_allclose(seen[1][1], [0.8, 0.9, 0.6, 1.0], atol=1e-5)
    np.testing.assert_allclose([mean, std], [0.95, np.sqrt(0.05**2 + FLOOR)], atol=1e-5)


def test_std_has_a_floor_where_all_elites_agree():
    mean, std = plan(first, [2.0, 3.0, 4.0, -1.0], elites=3)
    assert mean == 1.0
    np.testing.assert_allclose(std, 1e-3, rtol=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_never_win(bad):
    def evaluate(actions, i):
        # The candidates of positive actions would win; the finite ones score worse than -1e10.
        return tf.where(first(actions, i) > 0, bad, first(actions, i) - 2e10)

    mean, std = plan(evaluate, [0.9, -0.2, 0.5, -0.4, 0.7, -0.9], elites=3)
    np.testing.assert_allclose(mean, -0.5, atol=1e-6)
    np.testing.assert_allclose(std, np.sqrt((0.09 + 0.01 + 0.16) / 3 + FLOOR), atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_elite_is_finite_even_where_there_are_fewer_than_elites(bad):
    def evaluate(actions, i):
        return tf.where(first(actions, i) > 0, bad, first(actions, i))

    draws = [0.9, -0.2, 0.5, -0.4, 0.7, 0.8]
    mean, std = plan(evaluate, draws, elites=4)
    np.testing.assert_allclose([mean, std], [-0.3, np.sqrt(0.01 + FLOOR)], atol=1e-6)
    size = dict(batch_size=1, action_size=1, horizon=1, candidates=6, elites=4, iterations=1)
    mean, std = planners.cem(evaluate, replay(draws), **size, spread="mean_abs")
    np.testing.assert_allclose([mean[0, 0, 0], std[0, 0, 0]], [-0.3, 0.2], atol=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("broken", [0, 1, 2])
def test_no_finite_score_leaves_no_action(broken, jit_compile):
    """One such iteration is enough, whatever those after it score."""

    def evaluate(actions, i):
        return tf.where(i == broken, np.nan, 1.0) * tf.ones_like(first(actions, i))

    size = dict(batch_size=2, action_size=2, horizon=2, candidates=9, elites=3, iterations=3)
    run = tf.function(lambda: planners.cem(evaluate, seeded(2, 0), **size), jit_compile=jit_compile)
    mean, std = run()
    assert np.isnan(mean).all() and np.isnan(std).all()


def test_rows_are_independent():
    size = dict(action_size=2, horizon=2, candidates=30, elites=5, iterations=3)
    draws = tf.random.stateless_normal([3, 3, 30, 2, 2], [0, 0])  # iteration, row, ...
    optimum = np.float32([0.5, -0.5, 0.9]).reshape(3, 1, 1, 1)

    def run(rows, optimum):
        return planners.cem(
            toward(optimum), lambda shape, i: tf.gather(draws[i], rows), len(rows), **size
        )

    together = run([0, 1, 2], optimum)
    for row in range(3):
        alone = run([row], optimum[row : row + 1])
        for a, b in zip(alone, together, strict=True):
            np.testing.assert_allclose(a[0], b[row], atol=1e-6)
    # A row that scores only NaN does no harm to its neighbours.
    poisoned = run([0, 1, 2], np.where(optimum == -0.5, np.float32(np.nan), optimum))
    for a, b in zip(poisoned, together, strict=True):
        np.testing.assert_array_equal(a.numpy()[[0, 2]], b.numpy()[[0, 2]])


@pytest.mark.parametrize("jit_compile", [False, True])
def test_same_plan_compiled_for_any_batch(jit_compile):
    size = dict(action_size=2, horizon=2, candidates=30, elites=5, iterations=3)
    draws = tf.random.stateless_normal([3, 2, 30, 2, 2], [0, 0])

    def run(optimum):
        return planners.cem(
            toward(optimum), lambda shape, i: draws[i], tf.shape(optimum)[0], **size
        )

    optimum = tf.reshape([0.5, -0.5], [2, 1, 1, 1])
    signature = [tf.TensorSpec([None, 1, 1, 1])]
    compiled = tf.function(run, input_signature=signature, jit_compile=jit_compile)
    for actual, expected in zip(compiled(optimum), run(optimum), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-5)
    static = tf.function(run, input_signature=signature).get_concrete_function().output_shapes
    assert [shape.as_list()[1:] for shape in static] == [[2, 2], [2, 2]]


@pytest.mark.parametrize("count", ["horizon", "candidates", "elites"])
def test_counts_must_be_positive(count):
    with pytest.raises(ValueError, match=rf"cem\.{count} must be at least 1, got 0"):
        planners.cem(toward(0.0), seeded(1, 0), 1, 1, **{count: 0})


def test_more_elites_than_candidates():
    size = dict(batch_size=1, action_size=1, candidates=5)
    with pytest.raises(ValueError, match=r"elites \(6\) must not exceed cem\.candidates \(5\)"):
        planners.cem(toward(0.0), seeded(1, 0), elites=6, **size)
    planners.cem(toward(0.0), seeded(1, 0), elites=5, **size)


def test_the_papers_spread_and_candidates_out_of_bounds():
    size = dict(batch_size=1, action_size=1, horizon=1, candidates=4, elites=3, iterations=1)
    mean, std = planners.cem(
        first, replay([0.0, 0.3, 3.0, -0.1]), **size, spread="mean_abs", clip=False
    )
    # Elites 0, 0.3 and 3: mean 1.1; deviations 1.1, 0.8 and 1.9 over K - 1 = 2.
    np.testing.assert_allclose([mean[0, 0, 0], std[0, 0, 0]], [1.1, 1.9], atol=1e-6)
    with pytest.raises(ValueError, match="cem.spread must be 'std' or 'mean_abs', got 'mad'"):
        planners.cem(first, replay([0.0]), **size, spread="mad")


def test_random_shooting_takes_the_best_and_no_iteration_nothing():
    assert plan(first, [0.3, -0.2, 0.7, 0.1], elites=1)[0] == pytest.approx(0.7)
    mean, std = planners.cem(first, None, 2, 1, horizon=3, iterations=0)
    np.testing.assert_array_equal([mean, std], [np.zeros([2, 3, 1]), np.ones([2, 3, 1])])
    with pytest.raises(ValueError, match="cem.iterations must not be negative"):
        planners.cem(first, None, 2, 1, iterations=-1)
