"""The one loop of acting: a policy drives an environment through episodes."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from tf_agents.drivers import py_driver
from tf_agents.environments import wrappers
from tf_agents.policies import py_policy
from tf_agents.specs import array_spec
from tf_agents.trajectories import policy_step
from tf_agents.utils import nest_utils

from planet_tf import action_specs
from planet_tf.experience import episode as episodes
from planet_tf.experience.episode import Episode, Transition

Observer = Callable[[Transition], None]


def run_episodes(
    env,
    policy: py_policy.PyPolicy,
    seeds: Sequence[np.random.SeedSequence],
    observers: Sequence[Observer] = (),
) -> list[Episode]:
    """Drives a policy through one episode per seed, as many in parallel as `env` has rows.

    Rows without a seed repeat the last one; what they do is dropped.

    Args:
      env: an environment of `planet_tf.environments`, batched or not.
      policy: a PlanetPyPolicy, an exported one, a UniformPolicy, or any PyPolicy without a state;
        it takes batched time steps if `env` is batched.
      seeds: each decides all randomness in its episode, in the environment and in a policy whose
        state has a seed, whatever the other rows are.
      observers: called with every transition, batched if `env` is.

    Returns:
      The aligned episodes in the order of the seeds; see `episode.align`.

    Raises:
      EnvironmentFailure: if the environment fails.
      NotFiniteError: if an observation, a reward or a plan is NaN or infinite.
    """
    rows, finished = env.batch_size or 1, []
    for start in range(0, len(seeds), rows):
        batch = list(seeds[start : start + rows])
        idle = rows - len(batch)
        finished += _run_batch(env, policy, batch + idle * batch[-1:], observers)[: len(batch)]
    return finished


def _run_batch(env, policy, seeds, observers) -> list[Episode]:
    """Drives a policy through one episode per row; there are as many seeds as rows."""
    words = np.array([seed.generate_state(3) for seed in seeds], np.uint32)
    env_seeds = words[:, 0].tolist()
    env.seed(env_seeds if env.batched else env_seeds[0])
    state = policy.get_initial_state(len(seeds))
    if isinstance(state, dict):  # a PlanetPolicy's, from code or from a SavedModel, or uniform's
        state = {**state, "seed": tf.constant(words[:, 1:].astype(np.int32))}
    recorder = EpisodeRecorder()
    # Returns whenever an episode ends in any row; the others may still be acting.
    driver = py_driver.PyDriver(
        env,
        policy,
        observers=[],
        transition_observers=[recorder, *observers],
        max_episodes=1,
        end_episode_on_boundary=False,
    )
    step = env.reset()
    while not recorder.complete:
        step, state = driver.run(step, state)
    return recorder.episodes


class EpisodeRecorder:
    """A transition observer for TF-Agents drivers: records the first episode of each row.

    Rows may end at different times: what a row does after its first episode is ignored. An
    environment that is not batched is one row.
    """

    def __init__(self) -> None:
        self._rows: list[list[Transition]] = []

    def __call__(self, transition: Transition) -> None:
        """Takes one transition, batched or not, in order."""
        rows = _split_rows(transition)
        if not self._rows:
            self._rows = [[] for _ in rows]
        for recorded, row in zip(self._rows, rows, strict=True):
            if not _is_over(recorded):
                recorded.append(row)

    @property
    def complete(self) -> bool:
        """Whether every row has ended an episode."""
        return bool(self._rows) and all(map(_is_over, self._rows))

    @property
    def episodes(self) -> list[Episode]:
        """The rows' episodes, in the order of the rows; none before all are complete."""
        return [episodes.align(row) for row in self._rows] if self.complete else []


def _split_rows(transition: Transition) -> list[Transition]:
    """Splits a batched transition into rows, keeping only what `align` needs."""
    before, step, after = transition
    transition = before, policy_step.PolicyStep(step.action), after
    if not np.ndim(before.step_type):
        return [transition]
    return nest_utils.unstack_nested_arrays(tf.nest.map_structure(np.asarray, transition))


def _is_over(transitions: Sequence[Transition]) -> bool:
    return bool(transitions) and bool(transitions[-1][2].is_last())


class UniformPolicy(py_policy.PyPolicy):
    """Uniform random actions; as in a PlanetPolicy, `seed` in the policy state decides a row's.

    TF-Agents' RandomPyPolicy has one seed for all rows.
    """

    def __init__(self, env):
        super().__init__(
            env.time_step_spec(),
            env.action_spec(),
            policy_state_spec={"seed": array_spec.ArraySpec([2], np.int32)},
        )

    def _action(self, time_step, policy_state, seed=None):
        drawn, seeds = [], []
        for words in np.asarray(policy_state["seed"]):
            random = np.random.default_rng(words.astype(np.uint32))
            drawn.append(action_specs.sample(self.action_spec, random))
            seeds.append(random.integers(2**32, size=2, dtype=np.uint32))
        action = np.array(drawn)
        state = {"seed": np.array(seeds).astype(np.int32)}
        return policy_step.PolicyStep(action if np.ndim(time_step.step_type) else action[0], state)


class FilmedEnvironment(wrappers.PyEnvironmentBaseWrapper):
    """An environment that keeps an image of every step of its first whole episode.

    Attributes:
      frames: uint8 [64, 64, 3] each; as many as the episode has frames.
    """

    def __init__(self, env):
        super().__init__(env)
        self.frames: list[np.ndarray] = []
        self._complete = False

    def _reset(self):
        step = self._env.reset()
        if not self._complete:
            self.frames = [self._env.render()]
        return step

    def _step(self, action):
        step = self._env.step(action)
        if not self._complete:
            self.frames.append(self._env.render())
            self._complete = bool(step.is_last())
        return step
