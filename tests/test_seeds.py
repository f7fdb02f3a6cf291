"""Randomness: independent streams, rows that do not depend on their batch, runs that repeat."""

import numpy as np
import tensorflow as tf

from planet_tf import seeds
from planet_tf.seeds import RowSeeds, RunSeeds, Stream

SEED = tf.constant([5, 0])
ROWS = tf.constant([[5, 0], [-3, 7], [2**31 - 1, -(2**31)]])


def within(values, mean, variance, fourth):
    """Asserts that mean and variance are within 5 standard errors, given the 4th moment."""
    assert abs(np.mean(values) - mean) < 5 * np.sqrt(variance / values.size)
    assert abs(np.var(values) - variance) < 5 * np.sqrt((fourth - variance**2) / values.size)


def test_normal_is_standard_and_depends_on_the_seed_alone():
    one, same, other = (seeds.normal([100, 200], [3, s]).numpy() for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.mean(one == other) < 0.01
    assert one.dtype == np.float32
    within(one, 0, 1, 3)
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 5 / np.sqrt(one.size)


def test_uniform_is_from_0_to_1_and_depends_on_the_seed_alone():
    one, same, other = (seeds.uniform([50, 8, 8, 3], [3, s]).numpy() for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.mean(one == other) < 0.01
    assert one.min() >= 0 and one.max() < 1
    within(one, 1 / 2, 1 / 12, 1 / 80)


def test_split_and_fold_in_are_independent():
    made = [SEED, *seeds.split(SEED, 3), *(seeds.fold_in(SEED, i) for i in range(3))]
    assert {(seed.shape, seed.dtype) for seed in made} == {((2,), tf.int32)}
    draws = np.stack([seeds.normal([20_000], seed) for seed in made])
    assert len(np.unique(draws[:, :4])) == 7 * 4
    correlations = np.corrcoef(draws) - np.eye(7)
    assert np.abs(correlations).max() < 5 / np.sqrt(20_000)
    for draw in draws:
        within(draw, 0, 1, 3)


def everything(rows):
    """What rows can draw, by name."""
    rows = RowSeeds(rows)
    one, two = rows.split(2)
    return {
        "normal": rows.normal([3, 2]),
        "uniform": rows.uniform([4]),
        "nothing": rows.normal([0]),
        "split": tf.stack([one.seeds, two.seeds], 1),
        "fold_in": rows.fold_in(3).seeds,
        "fold_in of a tensor": rows.fold_in(tf.constant(4)).seeds,
    }


def test_a_row_draws_alone_what_it_draws_in_a_batch(variant):
    function = variant(everything)
    batch = function(ROWS)
    for i in range(len(ROWS)):
        for key, value in function(ROWS[i : i + 1]).items():
            np.testing.assert_array_equal(value[0], batch[key][i], err_msg=key)
    for key in batch.keys() - {"nothing"}:
        assert len(np.unique(batch[key], axis=0)) == len(ROWS), key


def test_rows_draw_what_their_seeds_draw():
    batch = everything(ROWS)
    for i, seed in enumerate(ROWS):
        np.testing.assert_array_equal(batch["normal"][i], seeds.normal([3, 2], seed))
        np.testing.assert_array_equal(batch["uniform"][i], seeds.uniform([4], seed))
        np.testing.assert_array_equal(batch["split"][i], tf.stack(seeds.split(seed, 2)))
        np.testing.assert_array_equal(batch["fold_in"][i], seeds.fold_in(seed, 3))


def test_rows_need_not_be_counted_when_traced():
    function = tf.function(everything, input_signature=[tf.TensorSpec([None, 2], tf.int32)])
    for rows in (ROWS, ROWS[:1]):
        expected = everything(rows)
        for key, value in function(rows).items():
            np.testing.assert_array_equal(value, expected[key], err_msg=key)


def test_seeds_of_a_run_repeat():
    def words(*arguments, seed=0):
        return tuple(RunSeeds(seed).sequence(*arguments).generate_state(3))

    uses = [(stream, number) for stream in Stream for number in (0, 1, 1000)]
    made = [words(*use, seed=seed) for use in uses for seed in (0, 1)]
    assert len(set(made)) == len(made)
    assert made == [words(*use, seed=seed) for use in uses for seed in (0, 1)]
    assert words(Stream.REPLAY) == words(Stream.REPLAY, 0)


def test_integers_of_a_run_are_non_negative_int32():
    made = [RunSeeds(seed).integer(stream) for seed in range(100) for stream in Stream]
    assert len(set(made)) == len(made)
    assert min(made) >= 0 and max(made) < 2**31
    assert max(made) > 2**30


def test_runs_of_earlier_versions_keep_their_seeds():
    # Golden: a change here makes a resumed run draw other numbers than before.
    assert [RunSeeds(0).integer(stream) for stream in Stream] == [
        *(1484405855, 1982462498, 1570558271, 1306511473, 937182424, 80664346, 1308860612),
        684899372,
    ]
    np.testing.assert_allclose(seeds.normal([2], [1, 2]), [0.5441101, 0.20738031], rtol=1e-5)
    np.testing.assert_allclose(seeds.uniform([2], [1, 2]), [0.8440604, 0.19204533], rtol=1e-6)
