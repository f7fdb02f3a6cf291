"""Padded actions: the environment gets its own components; everything else is its own."""

import numpy as np
import pytest
from tf_agents.environments import utils

from planet_tf import action_specs, environments
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


# Choices.


class Levers(dot_goal.DotGoal):
    """Three levers: the second one moves the dot."""

    def __init__(self):
        super().__init__(seed=0)
        self._action_spec = action_specs.vector(3, discrete=True)
        self.pulled = []

    def _advance(self, action):
        self.pulled.append(int(np.argmax(action)))
        return super()._advance(action[:2])


def test_only_the_spec_tells_a_choice():
    assert action_specs.is_discrete(action_specs.vector(3, discrete=True))
    assert not action_specs.is_discrete(action_specs.vector(3))


def test_a_choice_is_one_hot():
    env = Levers()
    env.reset()
    env.step(np.float32([0, 1, 0]))
    assert env.pulled == [1]
    for wrong in ([0, 0, 0], [1, 1, 0], [0.5, 0.5, 0], [0, 0, -1]):
        with pytest.raises(ValueError, match="one-hot"):
            env.step(np.float32(wrong))


def test_an_index_is_taken_too():
    inner = Levers()
    env = actions.IndexedActions(inner)
    spec = env.action_spec()
    assert (spec.shape, spec.dtype, spec.minimum, spec.maximum) == ((), np.int32, 0, 2)
    env.reset()
    for index in (2, 0, 1):
        env.step(np.int32(index))
    assert inner.pulled == [2, 0, 1]


def test_samples_are_uniform():
    random = np.random.default_rng(0)
    spec = action_specs.vector(3, discrete=True)
    drawn = np.array([action_specs.sample(spec, random) for _ in range(3000)])
    assert drawn.dtype == np.float32 and np.all(drawn.sum(1) == 1)
    np.testing.assert_allclose(drawn.mean(0), [1 / 3] * 3, atol=0.03)
    drawn = np.array([action_specs.sample(action_specs.vector(2), random) for _ in range(1000)])
    assert drawn.dtype == np.float32 and drawn.min() < -0.9 and drawn.max() > 0.9
