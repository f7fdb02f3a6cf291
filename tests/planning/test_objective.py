"""The score of candidates: what the model is asked, and what a plan then prefers."""

import types

import gin
import numpy as np
import pytest
import tensorflow as tf
from helpers import normal

from planet_tf.models import WorldModel, recurrence
from planet_tf.planning import CEM, ImaginedReturn
from planet_tf.seeds import RowSeeds

B, J, H, A, S, D = 2, 50, 3, 2, 4, 5
STATE = {"deter": normal(0, B, D), "stoch": normal(1, B, S)}
POSTERIOR = recurrence.gaussian(normal(2, B, S), 0.1 + tf.abs(normal(3, B, S)))
CANDIDATES = normal(4, B, J, H, A)
SEEDS = RowSeeds(tf.constant([[5, 6], [7, 8]]))


class Model:
    """Takes note of what it is asked."""

    cell = types.SimpleNamespace(stoch_size=S)

    def imagined_return(self, state, action, noise):
        self.asked = {**state, "action": action, "noise": noise}
        assert {value.shape[0] for value in self.asked.values()} == {B * J}
        return tf.reduce_sum(action, [1, 2])


@pytest.fixture
def ask():
    """Scores CANDIDATES: (sample_per_candidate, posterior) -> what was asked, [B, J, ...]."""

    def run(sample_per_candidate, posterior=POSTERIOR, seeds=SEEDS, shared_noise=False):
        model = Model()
        objective = ImaginedReturn(sample_per_candidate, shared_noise)
        scores = objective.score_from(model, STATE, posterior)(CANDIDATES, seeds)
        np.testing.assert_allclose(scores, tf.reduce_sum(CANDIDATES, [2, 3]), atol=1e-6)
        return {k: v.numpy().reshape([B, J, *v.shape[1:]]) for k, v in model.asked.items()}

    return run


def test_all_candidates_start_from_the_shared_sample(ask):
    asked = ask(False)
    np.testing.assert_array_equal(asked["action"], CANDIDATES)
    for key, value in STATE.items():
        np.testing.assert_array_equal(asked[key], np.repeat(value[:, None], J, 1))


def test_each_candidate_starts_from_a_sample_of_its_own(ask):
    asked = ask(True)
    np.testing.assert_array_equal(asked["deter"], ask(False)["deter"])
    mean, std = recurrence.mean_std(POSTERIOR)
    noise = ((asked["stoch"] - mean[:, None]) / std[:, None]).numpy()
    assert len(np.unique(noise.round(4))) > 0.95 * noise.size  # all drawn apart
    assert abs(noise.mean()) < 5 / np.sqrt(noise.size)
    assert abs(noise.var() - 1) < 5 * np.sqrt(2 / noise.size)


def test_a_model_that_draws_nothing_has_no_samples(ask):
    np.testing.assert_array_equal(ask(True, posterior=None)["stoch"], ask(False)["stoch"])


@pytest.mark.parametrize("own", [False, True])
def test_noise_is_of_the_row_and_the_candidate(ask, own):
    asked = ask(own)
    noise = asked["noise"]
    assert noise.shape == (B, J, H, S) and len(np.unique(noise)) == noise.size
    other = ask(own, seeds=RowSeeds(tf.constant([[5, 6], [0, 0]])))  # another second row
    for key in ("noise", "stoch") if own else ("noise",):
        np.testing.assert_array_equal(other[key][0], asked[key][0])
        assert np.all(other[key][1] != asked[key][1])


def test_candidates_may_share_the_noise_of_their_row(ask):
    noise = ask(False, shared_noise=True)["noise"]
    assert noise.shape == (B, J, H, S) and len(np.unique(noise)) == B * H * S
    np.testing.assert_array_equal(noise, np.repeat(noise[:, :1], J, 1))
    expected = SEEDS.split(2)[0].normal([H, S])
    np.testing.assert_array_equal(noise[:, 0], expected)


@pytest.mark.parametrize("parts", [1, 3, J + 1])
def test_a_score_is_the_imagined_return_of_each_candidate(parts):
    gin.parse_config("RSSMCell.deter_size = 5\nRSSMCell.stoch_size = 4\nRewardHead.units = 6")
    model = WorldModel(A, None, 3)
    score = ImaginedReturn(parts=parts).score_from(model, STATE, POSTERIOR)
    scores = score(CANDIDATES, SEEDS)
    assert scores.shape == (B, J) and np.std(scores) > 1e-3
    noise = SEEDS.split(2)[0].normal([J, H, S])
    for row in range(B):
        start = {key: tf.repeat(value[row : row + 1], J, 0) for key, value in STATE.items()}
        expected = model.imagined_return(start, CANDIDATES[row], noise[row])
        np.testing.assert_allclose(scores[row], expected, atol=1e-5)


def test_parts_are_imagined_one_by_one(monkeypatch):
    rows = []

    def imagined_return(self, state, action, noise):
        rows.append({len(value) for value in (*state.values(), action, noise)})
        return tf.reduce_sum(action, [1, 2])

    monkeypatch.setattr(Model, "imagined_return", imagined_return)
    scores = ImaginedReturn(parts=3).score_from(Model(), STATE, POSTERIOR)(CANDIDATES, SEEDS)
    assert rows == [{B * 16}, {B * 17}, {B * 17}]
    np.testing.assert_allclose(scores, tf.reduce_sum(CANDIDATES, [2, 3]), atol=1e-6)


def test_a_plan_avoids_an_end_that_the_model_foresees():
    """Going right pays more at once, but ends the episode."""
    gin.parse_config("WorldModel.continuation_scale = 1.0")
    model = WorldModel(1, None, 3)

    def imagine(action, noise, state, static):
        return None, {"stoch": action, "deter": 0 * action}

    model.cell.imagine = imagine
    model.reward = lambda feat: 1.0 + 0.1 * feat[..., 0]
    model.continuation = lambda feat: -50.0 * feat[..., 0]
    planner = CEM(horizon=4, candidates=100, elites=10)

    def first_action():
        score = ImaginedReturn().score_from(model, model.cell.initial_state(1), None)
        return planner.plan(score, RowSeeds(tf.constant([[0, 0]])), 1, {}).actions[0, 0, 0]

    assert first_action() < 0.1
    model.continuation = None
    assert first_action() > 0.9
