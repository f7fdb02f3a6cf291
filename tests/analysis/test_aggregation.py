"""Curves aggregated over seeds, against values worked out by hand."""

import itertools

import numpy as np
import pytest

from planet_tf import errors
from planet_tf.analysis import aggregation, curves


def make_curve(seed, points, variant="a", task="dot_goal", source="here"):
    x, y = np.array(points, np.float64).T
    columns = {column: np.full(len(x), np.nan) for column in curves.NUMBERS}
    columns |= {"episodes": x, "env_steps": 10 * x, "minutes": x, "evaluation_return": y}
    return curves.Curve(task, variant, seed, columns, source)


def test_interquartile_mean_drops_a_quarter_at_either_end():
    np.testing.assert_allclose(aggregation.iqm(np.array([9.0, 1, 5])), 5)  # of 3: the mean
    np.testing.assert_allclose(aggregation.iqm(np.array([100.0, 1, 5, -50])), 3)
    values = np.array([[8.0, 1], [7, 2], [6, 3], [5, 4], [4, 5], [3, 6], [2, 7], [1, 80]])
    np.testing.assert_allclose(aggregation.iqm(values), [4.5, 4.5])


def test_interval_agrees_with_all_resamples():
    # Of 3 runs there are 27 equally likely resamples: their quantiles are the interval.
    runs = np.array([[0.0, 10], [3, 10], [9, 10]])
    means = [np.mean(draw) for draw in itertools.product(runs[:, 0], repeat=3)]
    low, high = aggregation.interval([runs], aggregation.mean, confidence=0.8)
    np.testing.assert_allclose(low, [np.quantile(means, 0.1), 10])
    np.testing.assert_allclose(high, [np.quantile(means, 0.9), 10])
    np.testing.assert_array_equal(aggregation.interval([runs], aggregation.mean, 0.8), [low, high])


def test_interval_draws_within_strata():
    # Each stratum's runs agree: whatever is drawn, the mean over both is the same.
    strata = [np.full([3, 1], 2.0), np.full([2, 1], 7.0)]
    np.testing.assert_allclose(aggregation.interval(strata, aggregation.mean), [[4.0], [4.0]])


def test_seeds_with_the_same_x_are_aggregated():
    group = [make_curve(seed, [(1, seed), (2, 10 * seed), (4, 5)]) for seed in (0, 1, 5)]
    result = aggregation.aggregate(group, "env_steps")
    np.testing.assert_allclose(result.x, [10, 20, 40])
    np.testing.assert_allclose(result.value, [2, 20, 5])
    np.testing.assert_allclose([result.low[2], result.high[2]], [5, 5])
    # P(mean <= 1/3) = 7 / 27 for (0, 0, 0 or 1): the interval's lower end is 0, its upper 5.
    np.testing.assert_allclose([result.low[0], result.high[0]], [0, 5])


def test_seeds_with_other_x_are_interpolated():
    first = make_curve(0, [(1, 0), (3, 20)])
    second = make_curve(1, [(2, 40), (6, 0)])
    result = aggregation.aggregate([first, second], "minutes", "iqm")
    np.testing.assert_allclose(result.x, [2, 3])
    np.testing.assert_allclose(result.value, [(10 + 40) / 2, (20 + 30) / 2])


def test_seeds_without_a_common_x_are_refused():
    early = make_curve(0, [(1, 0), (3, 20)], source="early")
    late = make_curve(2, [(4, 1), (5, 1)], source="late")
    with pytest.raises(errors.ConfigError, match="early.*minutes"):
        aggregation.aggregate([late, early], "minutes")


def test_group_holds_each_seed_once():
    points = [(1, 2)]
    given = [
        make_curve(1, points, "b"),
        make_curve(0, points, "b"),
        make_curve(0, points, "a"),
        make_curve(0, points, "a", "cup"),
    ]
    groups = aggregation.by_task_and_variant(given)
    assert [*groups] == ["dot_goal", "cup"] and [*groups["dot_goal"]] == ["b", "a"]
    assert [curve.seed for curve in groups["dot_goal"]["b"]] == [0, 1]
    with pytest.raises(errors.ConfigError, match="there and here.*seed 0.* a .*cup"):
        aggregation.by_task_and_variant([*given, make_curve(0, points, "a", "cup", "there")])


def test_table_has_a_row_per_task_and_variant():
    given = [
        make_curve(0, [(10, 400), (20, 300)], "small", "cartpole_swingup"),
        make_curve(1, [(10, 200), (150, 501)], "small", "cartpole_swingup"),
        make_curve(0, [(5, 47.6)], "small", "dot_goal"),
    ]
    rows = [line[1:-1].split("|") for line in aggregation.table(given).splitlines()]
    cells = [[cell.strip() for cell in row] for row in rows]
    assert len(set(map(len, cells))) == 1
    ends = ["20 to 150", "200 to 1,500", "20 to 150", "400", "300 501", "821"]
    assert cells[2] == ["cartpole_swingup", "small", "2", *ends]
    assert cells[3] == ["dot_goal", "small", "1", "5", "50", "5", "48", "48", ""]
