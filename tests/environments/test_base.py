"""What all tasks have in common: action repeat, time limit, checks of what a task gives."""

import numpy as np
import pytest
from own_tasks import Varying
from tf_agents.environments import utils

from planet_tf import errors
from planet_tf.environments import base, dot_goal

ZERO = np.zeros(2, np.float32)


class Paying(dot_goal.DotGoal):
    """Pays what `pay` returns for env steps 1, 2, ..., and ends with `end`."""

    def __init__(self, pay=lambda step: step, end=lambda step: None, **settings):
        super().__init__(seed=0, **settings)
        self._pay, self._end, self.taken = pay, end, []

    def _start(self):
        super()._start()
        self.taken = []

    def _advance(self, action):
        self.taken.append(action)
        step = len(self.taken)
        return self._pay(step), self._end(step)


def test_rewards_are_summed_over_the_action_repeat():
    env = Paying(action_repeat=4)
    env.reset()
    first, second = env.step(ZERO), env.step(ZERO)
    assert (first.reward, second.reward) == (1 + 2 + 3 + 4, 5 + 6 + 7 + 8)
    assert first.reward.dtype == first.discount.dtype == np.float32


@pytest.mark.parametrize("discount", [0.0, 1.0])
def test_a_task_may_end_within_an_action_repeat(discount):
    env = Paying(end=lambda step: discount if step == 6 else None, action_repeat=4)
    env.reset()
    first, last = env.step(ZERO), env.step(ZERO)
    assert (first.is_mid(), first.reward, first.discount) == (True, 1 + 2 + 3 + 4, 1.0)
    assert (last.is_last(), last.reward, last.discount) == (True, 5 + 6, discount)
    assert len(env.taken) == 6 and env.step(ZERO).is_first()


def test_the_time_limit_drops_a_rest_and_keeps_the_discount():
    env = Paying(action_repeat=20)  # 50 env steps
    assert env.max_steps == 2
    env.reset()
    steps = [env.step(ZERO) for _ in range(3)]
    assert [int(step.step_type) for step in steps] == [1, 2, 0]
    assert steps[1].discount == 1.0


@pytest.mark.parametrize("repeat", [0, 51, 1.5])
def test_an_action_repeat_must_fit_into_an_episode(repeat):
    with pytest.raises(errors.ConfigError) as error:
        dot_goal.DotGoal(action_repeat=repeat)
    assert error.value.setting == "load_environment.action_repeat"
    assert "50" in error.value.message and repr(repeat) in error.value.message


@pytest.mark.parametrize(
    "action", [[0, 1.5], [-2, 0], [np.nan, 0], [0], [0, 0, 0], [[0, 0]]], ids=str
)
def test_wrong_actions_are_refused(action):
    env = Paying()
    env.reset()
    with pytest.raises(ValueError, match="dot_goal: action"):
        env.step(np.array(action, np.float32))
    assert env.taken == []


def test_an_action_may_leave_its_bounds_by_float_error():
    env = Paying()
    env.reset()
    env.step(np.array([1 + 1e-6, -1 - 1e-6], np.float32))
    np.testing.assert_array_equal(env.taken, [[1, -1]])


def test_actions_are_mapped_affinely_to_bounds():
    low, high = np.array([-2.0, 0.0]), np.array([1.0, 10.0])
    mapped = [base.to_bounds(np.full(2, x), low, high) for x in (-1, 0, 0.5, 1)]
    np.testing.assert_array_equal(mapped, [[-2, 0], [-0.5, 5], [0.25, 7.5], [1, 10]])


@pytest.mark.parametrize("reward", [2, True, np.array([2.0]), np.float64(2), np.bool_(True)])
def test_a_reward_may_be_any_single_number(reward):
    env = Paying(pay=lambda step: reward)
    env.reset()
    paid = env.step(ZERO).reward
    assert (paid, paid.shape, paid.dtype) == (float(np.ravel(reward)[0]), (), np.float32)


@pytest.mark.parametrize("reward", [np.ones(2), "much", []], ids=str)
def test_another_reward_is_refused(reward):
    env = Paying(pay=lambda step: reward)
    env.reset()
    with pytest.raises(errors.ConfigError, match="dot_goal: the reward"):
        env.step(ZERO)


def test_a_misfit_after_a_good_step_is_a_failure_of_the_task():
    env = Paying(pay=lambda step: 1.0 if step == 1 else np.ones(2))
    env.reset(), env.step(ZERO)
    with pytest.raises(errors.EnvironmentFailure, match="dot_goal: the reward"):
        env.step(ZERO)


def test_a_discount_that_is_not_finite_is_named():
    env = Paying(end=lambda step: np.nan)
    env.reset()
    with pytest.raises(errors.NotFiniteError, match="dot_goal, agent step 1: discount"):
        env.step(ZERO)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])  # the last overflows float32
def test_a_reward_that_is_not_finite_ends_with_its_step(value):
    env = Paying(pay=lambda step: value if step == 3 else 1.0)
    env.reset()
    env.step(ZERO), env.step(ZERO)
    with pytest.raises(errors.NotFiniteError, match="dot_goal, agent step 3: reward"):
        env.step(ZERO)


def test_a_state_that_is_not_finite_ends_with_its_step():
    class Lost(dot_goal.DotGoal):
        def _state(self):
            return super()._state() * np.float32(np.nan if self._steps == 2 else 1)

    env = Lost(seed=0, observations=("state",))
    env.reset(), env.step(ZERO)
    with pytest.raises(errors.NotFiniteError, match="dot_goal, agent step 2: state"):
        env.step(ZERO)


@pytest.mark.parametrize("place", ["_start", "_advance", "_draw"])
def test_an_error_of_the_task_is_an_environment_failure(place, monkeypatch):
    env = Varying(seed=0)
    env.reset()

    def fail(*_):
        raise KeyError("no display")

    monkeypatch.setattr(env, place, fail)
    with pytest.raises(errors.EnvironmentFailure, match="varying: KeyError: 'no display'") as error:
        env.reset() if place == "_start" else env.step(ZERO)
    assert isinstance(error.value.__cause__, KeyError)


def test_an_error_of_planet_tf_stays_what_it_is():
    env = Paying()
    env.reset()
    env._pay = lambda step: (_ for _ in ()).throw(errors.ConfigError("a setting"))
    with pytest.raises(errors.ConfigError, match="a setting"):
        env.step(ZERO)


def test_rendering_needs_a_reset_and_one_mode():
    env = dot_goal.DotGoal(observations=("state",))
    with pytest.raises(ValueError, match="dot_goal.*reset"):
        env.render()
    env.reset()
    with pytest.raises(NotImplementedError, match="human"):
        env.render("human")


def test_images_belong_to_the_caller():
    env = dot_goal.DotGoal(seed=0, observations=("image", "state"))
    utils.validate_py_environment(env, episodes=1)
    image = env.reset().observation["image"]
    expected = image.copy()
    image[:] = 0
    env.render()[:] = 0
    np.testing.assert_array_equal(env.render(), expected)
