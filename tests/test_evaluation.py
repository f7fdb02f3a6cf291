"""Episodes: a seed decides all of one, a score is the mean of several."""

import numpy as np
import pytest
from tf_agents.metrics import py_metrics
from tf_agents.policies import random_py_policy

from planet_tf import environments, evaluation, policy as policies


def seeds(*entropy):
    return np.random.SeedSequence(entropy)


@pytest.mark.usefixtures("tiny")
def test_a_seed_decides_an_episode(agent):
    env = environments.load("dot_goal")
    policy = policies.PlanetPyPolicy(agent.collect_policy)
    steps = py_metrics.EnvironmentSteps()
    one = evaluation.run_episode(env, policy, seeds(1, 2), [steps])
    assert one["image"].shape == (51, 64, 64, 3) and steps.result() == 50
    again, other = (evaluation.run_episode(env, policy, seeds(1, n)) for n in (2, 3))
    for key, value in one.items():
        np.testing.assert_array_equal(again[key], value)
    assert not np.array_equal(other["action"], one["action"])
    assert not np.array_equal(other["image"][0], one["image"][0])


def test_a_score_is_of_episodes_that_differ():
    env = environments.load("dot_goal")

    def policy():
        return random_py_policy.RandomPyPolicy(env.time_step_spec(), env.action_spec(), seed=0)

    score = evaluation.evaluate(env, policy(), 4, seeds(7))
    assert len(score.episodes) == len(set(score.returns)) == 4
    np.testing.assert_allclose(
        score.returns, [episode["reward"].sum() for episode in score.episodes], rtol=1e-6
    )
    np.testing.assert_allclose(score.mean, np.mean(score.returns))
    assert evaluation.evaluate(env, policy(), 4, seeds(7)).returns == score.returns
    assert evaluation.evaluate(env, policy(), 4, seeds(8)).returns != score.returns


def test_mean_and_population_std_of_returns():
    score = evaluation.Score([1.0, 2.0, 6.0], [])
    assert score.mean == 3
    np.testing.assert_allclose(score.std, np.sqrt((4 + 1 + 9) / 3))
