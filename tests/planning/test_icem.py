"""iCEM: coloured noise, populations, kept elites, momentum and the best sequence, by hand."""

import numpy as np
import pytest
import tensorflow as tf

from planet_tf import errors
from planet_tf.planning import ICEM
from planet_tf.planning.icem import coloured
from planet_tf.seeds import RowSeeds

SEEDS = RowSeeds(tf.constant([[5, 6]]))


@pytest.mark.parametrize("horizon", [1, 2, 7, 12])
@pytest.mark.parametrize("beta", [0.0, 1.0, 2.5])
def test_coloured_noise_has_variance_1_and_its_power_spectrum(horizon, beta):
    matrix = coloured(horizon, beta).astype(np.float64)
    covariance = matrix @ matrix.T  # of coloured white noise
    np.testing.assert_allclose(np.diag(covariance), 1, rtol=1e-5)
    # The eigenvalues of a circulant matrix are its power spectrum.
    power = np.fft.rfft(covariance[0]).real
    frequencies = np.fft.rfftfreq(horizon)
    lowest = 1 / horizon
    expected = power[0] * (np.maximum(frequencies, lowest) / lowest) ** -beta
    np.testing.assert_allclose(power, expected, rtol=1e-3, atol=1e-5)
    if not beta:
        np.testing.assert_allclose(matrix, np.eye(horizon), atol=1e-6)


def test_later_iterations_sample_fewer_but_twice_the_elites():
    planner = ICEM(candidates=100, elites=20, iterations=5, decay=1.5)
    # 100, 66.7, 44.4, then 29.6 and 19.8 would be below 2 x 20.
    assert [planner.population(i) for i in range(5)] == [100, 66, 44, 40, 40]
    assert ICEM(candidates=30, elites=20).population(0) == 30


def test_two_iterations_by_hand():
    planner = ICEM(horizon=2, candidates=8, elites=4, iterations=2, keep=0.5, colour=1.0)
    last = {"mean": tf.fill([1, 2, 1], 0.4), "elites": tf.fill([1, 2, 2, 1], -0.2)}
    seen = []

    def score(actions, score_seeds):
        seen.append(actions[0, :, :, 0].numpy())
        return -tf.reduce_sum(tf.square(actions - 0.3), [-2, -1])

    plan = planner.plan(score, SEEDS, 1, last)
    colour = coloured(2, 1.0)
    # The last mean and the last elites, one step ahead: the mean's end is repeated, theirs sampled.
    mean, std = np.array([0.4, 0.4]), np.full(2, 0.5)
    new = np.clip(0.4 + 0.5 * SEEDS.fold_in(2).normal([2, 2, 1])[0, :, 1, 0].numpy(), -1, 1)
    kept = np.stack([np.full(2, -0.2), new], 1)
    for i, count in enumerate([8, 8]):
        white = SEEDS.fold_in(i).split(2)[0].normal([count, 2, 1])[0, :, :, 0].numpy()
        candidates = np.clip(mean + std * (white @ colour.T), -1, 1)
        candidates = np.concatenate([candidates, kept, mean[None]][: 2 + i])
        np.testing.assert_allclose(seen[i], candidates, atol=1e-5)
        order = np.argsort(np.square(candidates - 0.3).sum(1))[:4]
        best, kept = candidates[order], candidates[order[:2]]
        mean = 0.1 * mean + 0.9 * best.mean(0)
        std = 0.1 * std + 0.9 * np.sqrt(best.var(0) + 1e-6)
    np.testing.assert_allclose(plan.actions[0, :, 0], best[0], atol=1e-5)
    np.testing.assert_allclose(plan.std[0, :, 0], std, atol=1e-5)
    np.testing.assert_allclose(plan.state["mean"][0, :, 0], mean, atol=1e-5)
    np.testing.assert_allclose(plan.state["elites"][0, :, :, 0], kept, atol=1e-5)


def test_an_episodes_first_decision_reuses_nothing():
    planner = ICEM(horizon=2, candidates=8, elites=4, keep=0.5)
    mean, std = tf.zeros([1, 2, 1]), 0.5 * tf.ones([1, 2, 1])
    found = planner.reused(tf.zeros([1, 2, 2, 1]), mean, std, SEEDS)
    np.testing.assert_allclose(found, np.clip(0.5 * SEEDS.normal([2, 2, 1]), -1, 1), atol=1e-6)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("decay", 0.9), ("colour", -1.0), ("keep", 1.0), ("momentum", 1.0), ("iterations", 0)],
)
def test_a_wrong_setting_is_named(setting, value):
    with pytest.raises(errors.ConfigError) as error:
        ICEM(**{setting: value})
    assert error.value.setting == f"ICEM.{setting}"
