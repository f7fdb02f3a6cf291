"""TF-Agents' environments as tasks: a scripted one for the exact rules."""

import numpy as np
import pytest
from tf_agents.environments import py_environment, utils
from tf_agents.specs import array_spec
from tf_agents.trajectories import time_step as ts

from planet_tf import errors
from planet_tf.environments import tf_agents_env

IMAGE = array_spec.BoundedArraySpec((64, 64, 3), np.uint8, 0, 255)
STATE = array_spec.ArraySpec((2,), np.float64)
BOTH = {"image": IMAGE, "state": STATE, "goal": array_spec.ArraySpec((5,), np.float32)}
ACTION = array_spec.BoundedArraySpec((2,), np.float32, [-2.0, 0.0], [1.0, 10.0])


class Scripted(py_environment.PyEnvironment):
    """Pays 1, 2, 3, ... and ends after `length` env steps with the given discount."""

    batch = None

    def __init__(self, observation=STATE, action=ACTION, length=1000, discount=1.0):
        super().__init__()
        self._spec, self._action = observation, action
        self._length, self._discount = length, discount
        self.count, self.taken, self.calls = 0, [], []

    @property
    def batched(self):
        return bool(self.batch)

    @property
    def batch_size(self):
        return self.batch

    def observation_spec(self):
        return self._spec

    def action_spec(self):
        return self._action

    def close(self):
        self.calls.append("close")

    def observe(self):
        values = {
            "image": np.full([64, 64, 3], self.count, np.uint8),
            "state": np.array([self.count, 0.5]),
            "goal": np.zeros(5, np.float32),
        }
        if isinstance(self._spec, dict):
            return values
        return values["image" if self._spec is IMAGE else "state"]

    def _reset(self):
        self.count = 0
        self.calls.append("reset")
        return ts.restart(self.observe())

    def _step(self, action):
        self.count += 1
        self.taken.append(action)
        reward = np.float32(self.count)
        if self.count == self._length:
            return ts.truncation(self.observe(), reward, np.float32(self._discount))
        return ts.transition(self.observe(), reward)


class Seeded(Scripted):
    def seed(self, seed):
        self.calls.append(seed)


def wrap(env, action_repeat=1, max_env_steps=10, observations=("state",)):
    return tf_agents_env.TfAgentsEnvironment(
        env, "scripted", action_repeat, max_env_steps, observations
    )


@pytest.mark.parametrize(
    ("observation", "observations"),
    [
        (STATE, ("state",)),
        (IMAGE, ("image",)),
        (BOTH, ("image",)),
        (BOTH, ("state",)),
        (BOTH, ("image", "state")),
    ],
)
def test_it_shows_what_is_asked_for(observation, observations):
    env = wrap(Scripted(observation), observations=observations)
    utils.validate_py_environment(env, episodes=2)
    assert set(env.observation_spec()) == set(observations)
    env.reset()
    seen = env.step(np.zeros(2, np.float32)).observation
    if "state" in observations:
        assert seen["state"].dtype == np.float32
        np.testing.assert_array_equal(seen["state"], [1, 0.5])
    if "image" in observations:
        np.testing.assert_array_equal(seen["image"], np.ones([64, 64, 3]))
        seen["image"][:] = 7  # the caller's own
    if observation is not STATE:  # drawn though it is not observed
        np.testing.assert_array_equal(env.render(), np.ones([64, 64, 3]))


def test_actions_are_mapped_to_its_bounds():
    scripted = Scripted()
    env = wrap(scripted)
    env.reset()
    for action in ([-1, -1], [1, 1], [0, 0], [0.5, -0.5], [1 + 1e-6, 1]):
        env.step(np.array(action, np.float32))
    np.testing.assert_array_equal(
        scripted.taken, [[-2, 0], [1, 10], [-0.5, 5], [0.25, 2.5], [1, 10]]
    )
    assert all(action.dtype == np.float32 for action in scripted.taken)


@pytest.mark.parametrize("discount", [0.0, 1.0])
def test_an_episode_ends_where_the_environment_ends_it(discount):
    scripted = Scripted(length=6, discount=discount)
    env = wrap(scripted, action_repeat=4, max_env_steps=100)
    env.reset()
    zero = np.zeros(2, np.float32)
    first, last = env.step(zero), env.step(zero)
    assert (first.is_mid(), first.reward, first.discount) == (True, 1 + 2 + 3 + 4, 1.0)
    assert (last.is_last(), last.reward, last.discount) == (True, 5 + 6, discount)
    assert env.step(zero).is_first() and scripted.calls == ["reset", "reset"]


def test_an_episode_is_truncated_at_the_time_limit():
    scripted = Scripted()
    env = wrap(scripted, action_repeat=3, max_env_steps=10)
    env.reset()
    steps = [env.step(np.zeros(2, np.float32)) for _ in range(4)]
    assert [int(step.step_type) for step in steps] == [1, 1, 2, 0]
    assert steps[2].discount == 1.0 and scripted.count == 0


def test_seed_and_close_are_passed_on():
    scripted = Seeded()
    env = wrap(scripted)
    env.seed(7)
    env.reset()
    env.close()
    assert scripted.calls == [7, "reset", "close"]
    wrap(Scripted()).seed(7)  # one that cannot be seeded


def test_a_state_has_no_image():
    env = wrap(Scripted())
    env.reset()
    with pytest.raises(NotImplementedError, match="scripted"):
        env.render()


@pytest.mark.parametrize(
    ("observation", "observations"),
    [
        (STATE, ("image",)),
        (IMAGE, ("state",)),
        (array_spec.ArraySpec((84, 84, 3), np.uint8), ("image",)),
        (array_spec.ArraySpec((64, 64, 3), np.float32), ("image",)),
        (array_spec.ArraySpec((2, 2), np.float32), ("state",)),
        ({"goal": STATE}, ("state",)),
        ({"state": STATE}, ("image", "state")),
    ],
)
def test_what_it_does_not_show_cannot_be_observed(observation, observations):
    with pytest.raises(errors.ConfigError) as error:
        wrap(Scripted(observation), observations=observations)
    assert error.value.setting == "load_environment.observations"


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")  # TF-Agents', of int32
@pytest.mark.parametrize(
    "bounded",
    [
        ((2,), np.float32, [-1, -1e30], [1, 1e30]),
        ((2,), np.float32),
        ((), np.float32, -1, 1),
        ((2, 1), np.float32, -1, 1),
        ((1,), np.int32, 0, 3),
        None,
    ],
)
def test_actions_must_be_a_bounded_vector_of_floats(bounded):
    action = array_spec.BoundedArraySpec(*bounded) if bounded else {"arm": ACTION}
    with pytest.raises(errors.ConfigError, match="scripted: actions"):
        wrap(Scripted(action=action))


def test_a_batch_is_refused():
    env = Scripted()
    env.batch = 3
    with pytest.raises(errors.ConfigError, match="scripted.*3"):
        wrap(env)


@pytest.mark.parametrize("least", [0, -1])
def test_a_bounded_integer_is_a_choice(least):
    scripted = Scripted(action=array_spec.BoundedArraySpec((), np.int32, least, least + 2))
    env = wrap(scripted)
    assert env.action_spec().shape == (3,) and env.action_spec().minimum == 0
    env.reset()
    for choice in (2, 0):
        env.step(np.eye(3, dtype=np.float32)[choice])
    assert scripted.taken == [least + 2, least]
    assert all(action.dtype == np.int32 for action in scripted.taken)
