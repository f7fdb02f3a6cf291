"""Tasks that tests name `own_tasks:NAME`: right ones, wrong ones, and ones that fail."""

import numpy as np
from tf_agents.environments import py_environment
from tf_agents.specs import array_spec
from tf_agents.trajectories import time_step as ts

from planet_tf import action_specs
from planet_tf.environments.base import TaskEnvironment
from planet_tf.environments.dot_goal import DotGoal

NUMBER = 3


def make(seed=None, observations=("image",), action_repeat=5):
    return DotGoal(seed, action_repeat, observations=observations)


def make_of_robots(seed=None, observations=("image",), robots=()):
    return DotGoal(seed, observations=observations)


def make_nothing(seed, observations):
    pass


def always_twice(seed, observations, action_repeat=2):
    return DotGoal(seed, 2, observations=observations)


def always_images(seed, observations):
    return DotGoal(seed)


class Levers(DotGoal):
    """The toy with a choice of two."""

    count = 2

    def __init__(self, seed=None, observations=("image",)):
        super().__init__(seed, observations=observations)
        self._action_spec = action_specs.vector(self.count, discrete=True)


class Lever(Levers):
    """The toy with no choice."""

    count = 1


class Grey(DotGoal):
    """Shows images of one channel."""

    def _draw(self):
        return super()._draw()[..., :1]


class Double(DotGoal):
    """Shows states of float64."""

    def _state(self):
        return super()._state().astype(float)


class Moody(DotGoal):
    """The toy; its seed modulo 3 says what happens in agent step 3.

    0: nothing; 1: it raises an OSError; 2: its reward is NaN.
    """

    _mood = 0

    def seed(self, seed):
        super().seed(seed)
        self._mood = seed % 3

    def _advance(self, action):
        reward, end = super()._advance(action)
        if self._steps == 3 and self._mood == 1:
            raise OSError("the motor is hot")
        return np.nan if self._steps == 3 and self._mood == 2 else reward, end


class Varying(TaskEnvironment):
    """Its seed decides how long an episode is, 1 to 8 steps, and what it shows and pays."""

    def __init__(self, seed=None, observations=("image",), action_repeat=1):
        super().__init__("varying", 2, action_repeat, 100, observations)
        self._random = np.random.RandomState(seed)

    def seed(self, seed):
        self._random.seed(seed)

    def _start(self):
        self._left = self._random.randint(1, 9)

    def _advance(self, action):
        self._left -= 1
        return self._random.uniform() + action.sum(), None if self._left else 0.0

    def _state(self):
        raise NotImplementedError

    def _draw(self):
        return self._random.randint(0, 256, [64, 64, 3]).astype(np.uint8)


class Counting(py_environment.PyEnvironment):
    """Shows (step, episode, 0) in 2x2 pixels; pays 100 * step + 10 * action[0] + action[1].

    It is no TaskEnvironment: an episode's length is what `lengths` says, its discount 0.9.

    Attributes:
      actions: a list of those taken, for each episode.
    """

    def __init__(self, lengths):
        super().__init__(handle_auto_reset=True)
        self._lengths, self._episode, self._t = lengths, -1, 0
        self.actions = []

    def action_spec(self):
        return array_spec.BoundedArraySpec([2], np.float32, -1, 1)

    def observation_spec(self):
        return {"image": array_spec.BoundedArraySpec([2, 2, 3], np.uint8, 0, 255)}

    def seed(self, seed):
        pass

    def _image(self):
        return {"image": np.full([2, 2, 3], [self._t, self._episode, 0], np.uint8)}

    def _reset(self):
        self._episode, self._t = self._episode + 1, 0
        self.actions.append([])
        return ts.restart(self._image())

    def _step(self, action):
        self._t += 1
        self.actions[-1].append(action)
        reward = np.float32(100 * self._t + 10 * action[0] + action[1])
        if self._t == self._lengths[self._episode]:
            return ts.termination(self._image(), reward)
        return ts.transition(self._image(), reward, np.float32(0.9))
