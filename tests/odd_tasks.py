"""Small tasks of odd kinds, as users write them: `odd_tasks:NAME`, with this folder in sys.path."""

import os
import pathlib

import numpy as np

from planet_tf.environments import rendering
from planet_tf.environments.base import IMAGE_SIZE, TaskEnvironment
from planet_tf.environments.dm_control_env import DmControlEnvironment

rendering.import_suite()
from dm_control import mujoco  # noqa: E402
from dm_control.rl import control  # noqa: E402
from dm_control.suite import base  # noqa: E402

XML = """
<mujoco>
  <option timestep="0.02"/>
  <worldbody>
    <light pos="0 -1 2"/>
    %s
    <geom type="plane" size="3 3 .1"/>
    <body pos="0 0 .3">
      <joint name="rail" type="slide" axis="1 0 0" damping="1"/>
      <geom type="sphere" size=".2" mass="1"/>
    </body>
  </worldbody>
  <actuator><motor joint="rail" ctrlrange="-5 5" ctrllimited="true"/></actuator>
</mujoco>
"""
CAMERA = '<camera pos="0 -2.5 1" xyaxes="1 0 0 0 .3 1"/>'


class Rail(base.Task):
    def initialize_episode(self, physics):
        physics.named.data.qpos["rail"] = self.random.uniform(-0.9, 0.9)
        super().initialize_episode(physics)

    def get_observation(self, physics):
        return {"position": physics.position(), "velocity": physics.velocity()}

    def get_reward(self, physics):
        return float(np.exp(-4 * physics.position()[0] ** 2))


def _make(task, seed, observations, action_repeat, xml=XML % CAMERA, limit=1.0, **kw):
    physics = mujoco.Physics.from_xml_string(xml)
    env = control.Environment(physics, task(random=seed), time_limit=limit, **kw)
    return DmControlEnvironment(env, task.__name__.lower(), action_repeat, observations)


def rail(seed=None, observations=("image",), action_repeat=1):
    return _make(Rail, seed, observations, action_repeat)


# no camera; no light
def no_camera(seed=None, observations=("image",), action_repeat=1):
    return _make(Rail, seed, observations, action_repeat, XML % "")


# its observation needs what initialize_episode makes
class Target(Rail):
    def initialize_episode(self, physics):
        self._target = self.random.uniform(-0.5, 0.5)
        super().initialize_episode(physics)

    def get_observation(self, physics):
        return {"to_target": self._target - physics.position(), "velocity": physics.velocity()}

    def get_reward(self, physics):
        return float(np.exp(-4 * (self._target - physics.position()[0]) ** 2))


def target(seed=None, observations=("image",), action_repeat=1):
    return _make(Target, seed, observations, action_repeat)


# kinds of rewards
class ArrayReward(Rail):
    def get_reward(self, physics):
        return np.exp(-4 * physics.named.data.qpos["rail"] ** 2)  # an array of one


class IntReward(Rail):
    def get_reward(self, physics):
        return int(abs(physics.position()[0]) < 0.3)


class BoolReward(Rail):
    def get_reward(self, physics):
        return abs(physics.position()[0]) < 0.3  # numpy bool


def array_reward(seed=None, observations=("image",), action_repeat=1):
    return _make(ArrayReward, seed, observations, action_repeat)


def int_reward(seed=None, observations=("image",), action_repeat=1):
    return _make(IntReward, seed, observations, action_repeat)


def bool_reward(seed=None, observations=("image",), action_repeat=1):
    return _make(BoolReward, seed, observations, action_repeat)


# physics diverges now and then
class Diverges(Rail):
    def before_step(self, action, physics):
        super().before_step(action, physics)
        if self.random.uniform() < 0.004:
            physics.data.qpos[0] = np.nan


def diverges(seed=None, observations=("image",), action_repeat=1):
    return _make(Diverges, seed, observations, action_repeat)


# its model is drawn at random when it is made
def random_model(seed=None, observations=("state",), action_repeat=1):
    damping = np.random.RandomState(seed).uniform(0.1, 5.0)
    xml = (XML % CAMERA).replace('damping="1"', f'damping="{damping}"')
    return _make(Rail, seed, observations, action_repeat, xml)


# not of dm_control; ends after a random or fixed number of steps
class Ends(TaskEnvironment):
    low, high = 3, 13

    def __init__(self, seed=None, observations=("state",), action_repeat=1):
        super().__init__("ends", 1, action_repeat, 40, observations, state_size=2)
        self._random = np.random.RandomState(seed)

    def seed(self, seed):
        self._random.seed(seed)

    def _start(self):
        self._left = int(self._random.randint(self.low, self.high))
        self._t = 0

    def _advance(self, action):
        self._t += 1
        return 1.0, (0.0 if self._t >= self._left else None)

    def _state(self):
        return np.array([self._t, self._left], np.float32)

    def _draw(self):
        image = np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        image[: self._t + 1] = 255
        return image


class EndsSoon(Ends):
    low, high = 3, 4


class SaysItEnds(EndsSoon):
    def __init__(self, seed=None, observations=("state",), action_repeat=1):
        super().__init__(seed, observations, action_repeat)
        self.terminates = True


# its process dies when it is made for the first time
def crashes_once(seed=None, observations=("state",), marker=None):
    if not os.path.exists(marker):
        pathlib.Path(marker).touch()
        os._exit(1)
    return Ends(seed, observations)
