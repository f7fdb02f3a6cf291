"""Padded actions: the environment gets its own components; everything else is its own."""

import numpy as np
import pytest
from tf_agents.environments import utils

from planet_tf import environments
from planet_tf.environments import actions, dot_goal


class Recording(dot_goal.DotGoal):
    """Records what reaches it."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.reached = []

    def _step(self, action):
        self.reached.append(action)
        return super()._step(action)


def test_the_padded_components_do_not_reach_the_environment():
    inner, alone = Recording(seed=0), dot_goal.DotGoal(seed=0)
    env = actions.PaddedActions(inner, 5)
    spec = env.action_spec()
    assert (spec.shape, spec.dtype) == ((5,), np.float32)
    assert np.all(spec.minimum == -1) and np.all(spec.maximum == 1)
    env.reset(), alone.reset()
    taken = np.random.RandomState(0).uniform(-1, 1, [50, 5]).astype(np.float32)
    taken[3, 2:] = np.nan  # whatever they are
    for action in taken:
        padded, expected = env.step(action), alone.step(action[:2])
        np.testing.assert_array_equal(padded.observation["image"], expected.observation["image"])
        assert (padded.reward, padded.step_type) == (expected.reward, expected.step_type)
    np.testing.assert_array_equal(inner.reached, taken[:, :2])
    assert padded.is_last() and env.step(taken[0]).is_first()
    utils.validate_py_environment(env, episodes=2)


def test_everything_else_is_the_environments():
    env = actions.PaddedActions(dot_goal.DotGoal(seed=0, action_repeat=2), 3)
    assert (env.name, env.action_repeat, env.max_steps) == ("dot_goal", 2, 25)
    assert not env.batched and env.batch_size is None
    assert env.observation_spec() == environments.load("dot_goal").observation_spec()
    env.seed(3)
    first = env.reset().observation["image"]
    np.testing.assert_array_equal(env.render(), first)
    env.seed(3)
    np.testing.assert_array_equal(env.reset().observation["image"], first)


def test_rows_are_padded_too(in_rows):
    inner = [Recording(seed=i) for i in range(2)]
    env = actions.PaddedActions(in_rows(inner), 3)
    assert env.batched and env.batch_size == 2
    env.reset()
    env.step(np.array([[0.1, 0.2, 0.9], [0.3, 0.4, 0.9]], np.float32))
    np.testing.assert_allclose([one.reached[0] for one in inner], [[0.1, 0.2], [0.3, 0.4]])


def test_actions_that_do_not_fit_are_refused():
    env = actions.PaddedActions(dot_goal.DotGoal(seed=0), 3)
    env.reset()
    for action in (np.zeros(2), np.zeros(4)):
        with pytest.raises(ValueError, match=r"dot_goal.*\(3,\)"):
            env.step(action)
    with pytest.raises(ValueError, match="dot_goal.* 2 .* 1$"):
        actions.PaddedActions(dot_goal.DotGoal(), 1)


def test_padding_to_its_own_size_changes_nothing():
    env = dot_goal.DotGoal(seed=0)
    assert actions.pad(env, 2) is env
    assert actions.pad(env, 3).action_spec().shape == (3,)
