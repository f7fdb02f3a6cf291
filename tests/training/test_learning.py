"""The toy task is learned from pixels: the agent gets most of what its oracle gets."""

import helpers
import numpy as np
import pytest
from tf_agents.policies import py_policy
from tf_agents.trajectories import policy_step

from planet_tf import config, environments, training
from planet_tf.experience import run_episodes
from planet_tf.experience.episode import returns

EPISODES = 10


class Oracle(py_policy.PyPolicy):
    """Looks at the environment's state, not at its pixels."""

    def __init__(self, env):
        super().__init__(env.time_step_spec(), env.action_spec())
        self._env = env

    def _action(self, time_step, policy_state, seed=None):
        return policy_step.PolicyStep(self._env.oracle_action(), policy_state)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_dot_goal_is_learned_within_30_episodes(tmp_path, seed):
    config.parse(
        ["dot_goal.gin", "cpu.gin"],
        [f"train.seed = {seed}", "train.episodes = 30", "train.export_every = 30"],
    )
    training.train(tmp_path)
    env = environments.load("dot_goal")
    # The same ten starts for both, which training has not seen.
    agent, oracle = (
        run_episodes(env, actor, helpers.sequences(EPISODES, 1000, seed))
        for actor in (training.load_policy(tmp_path / "policy"), Oracle(env))
    )
    found, best = returns(agent), returns(oracle)
    print(
        f"seed {seed}: agent {found.mean():.2f} (std {found.std():.2f}), oracle {best.mean():.2f}"
    )
    for one, two in zip(agent, oracle, strict=True):
        np.testing.assert_array_equal(one["image"][0], two["image"][0])
    assert found.mean() >= 0.8 * best.mean()
