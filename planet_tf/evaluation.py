"""Episodes in an environment: driving a policy, and scoring one."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tf_agents.drivers import py_driver
from tf_agents.environments import wrappers
from tf_agents.policies import py_policy
from tf_agents.specs import array_spec
from tf_agents.trajectories import policy_step

from planet_tf import config, replay


class EnvironmentFailure(RuntimeError):
    """An environment could not go on: its simulator, renderer or process failed."""


class _Guarded(wrappers.PyEnvironmentBaseWrapper):
    """Tells what the environment raises from what the policy raises."""

    def _reset(self):
        with self._failures():
            return self._env.reset()

    def _step(self, action):
        with self._failures():
            return self._env.step(action)

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except FloatingPointError:
            raise
        except Exception as error:  # whatever a simulator, a renderer or a robot may raise
            raise EnvironmentFailure(f"{self.name}: {type(error).__name__}: {error}") from error


@dataclasses.dataclass
class Score:
    """Evaluation episodes and their returns."""

    episodes: list[replay.Episode]

    @property
    def returns(self) -> list[float]:
        """Sum of the rewards of each."""
        return [float(episode["reward"].sum()) for episode in self.episodes]

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(np.mean(self.returns))

    @property
    def std(self) -> float:
        """Population standard deviation of the returns."""
        return float(np.std(self.returns))


class UniformPolicy(py_policy.PyPolicy):
    """Uniform random actions; as in a PlanetPolicy, `seed` in the policy state decides a row's."""

    def __init__(self, env):
        super().__init__(
            env.time_step_spec(),
            env.action_spec(),
            policy_state_spec={"seed": array_spec.ArraySpec([2], np.int32)},
        )

    def _action(self, time_step, policy_state, seed=None):
        spec = self.action_spec
        actions, seeds = [], []
        for words in np.asarray(policy_state["seed"]):
            random = np.random.default_rng(words.astype(np.uint32))
            actions.append(random.uniform(spec.minimum, spec.maximum, spec.shape))
            seeds.append(random.integers(2**32, size=2, dtype=np.uint32))
        action = np.array(actions, spec.dtype)
        state = {"seed": np.array(seeds).astype(np.int32)}
        return policy_step.PolicyStep(action if np.ndim(time_step.step_type) else action[0], state)


def run_episodes(
    env, policy: py_policy.PyPolicy, seeds: Sequence[np.random.SeedSequence]
) -> list[replay.Episode]:
    """Drives a policy through one episode for each seed, as many at once as `env` has rows.

    Rows that no seed is left for repeat the last one; what they do is dropped.

    Args:
      env: an environment of `planet_tf.environments`, batched or not.
      policy: a PlanetPyPolicy, an exported one, a UniformPolicy, or any PyPolicy without a state;
        it takes batched time steps if `env` is batched.
      seeds: each decides all that is random in its episode, in the environment and in a policy
        whose state has a seed, whatever the other rows are.

    Returns:
      The aligned episodes in the seeds' order; see `replay.align`.

    Raises:
      EnvironmentFailure: if the environment raises anything.
      FloatingPointError: if an observation, a reward or a plan is not finite; names the agent step.
    """
    rows, episodes = env.batch_size or 1, []
    for start in range(0, len(seeds), rows):
        batch = list(seeds[start : start + rows])
        idle = rows - len(batch)
        episodes += _run_batch(env, policy, batch + idle * batch[-1:])[: len(batch)]
    return episodes


def _run_batch(env, policy, seeds) -> list[replay.Episode]:
    """Drives a policy through the episodes of as many seeds as there are rows."""
    words = np.array([seed.generate_state(3) for seed in seeds], np.uint32)
    env_seeds = words[:, 0].tolist()
    env.seed(env_seeds if env.batched else env_seeds[0])
    state = policy.get_initial_state(len(seeds))
    if isinstance(state, dict):  # a PlanetPolicy's, from code or from a SavedModel, or uniform's
        state = {**state, "seed": tf.constant(words[:, 1:].astype(np.int32))}
    recorder = replay.EpisodeRecorder()
    # A step at a time: with max_episodes the driver counts the episodes of all rows together, and a
    # row that ends early would be counted twice while another goes on.
    guarded = _Guarded(env)
    driver = py_driver.PyDriver(
        guarded, policy, observers=[], transition_observers=[recorder], max_steps=1
    )
    step, steps = guarded.reset(), 0
    while not recorder.complete:
        try:
            step, state = driver.run(step, state)
        except FloatingPointError as error:
            raise FloatingPointError(f"{env.name}, agent step {steps}: {error}") from error
        steps += 1
    return recorder.episodes


FAILURES = 3
"""Failures of an environment in a row after which no further episode is tried."""


class EnvironmentSource:
    """An environment that is replaced by a new one when it fails.

    Attributes:
      env: the environment in use.
    """

    def __init__(self, make: Callable[[], Any]):
        """Makes the environment.

        Args:
          make: returns a new environment of `planet_tf.environments`.
        """
        self._make = make
        self.env = make()

    def run_episodes(
        self,
        policy: py_policy.PyPolicy,
        seeds: Sequence[np.random.SeedSequence],
        failed: Callable[[str], None],
    ) -> list[replay.Episode]:
        """Runs episodes, see the function; discards and repeats those whose environment fails.

        They are repeated in a new environment and with other seeds: with the same ones it would
        fail the same way.

        Args:
          failed: called with a line about each failure.

        Raises:
          EnvironmentFailure: if it fails 3 times in a row, or cannot be made again.
        """
        for count in range(1, FAILURES + 1):
            try:
                return run_episodes(self.env, policy, seeds)
            except EnvironmentFailure as error:
                cause = error
            failed(f"discarded: the episode under way, {cause} (failure {count} in a row)")
            self._replace()
            seeds = [seed.spawn(1)[0] for seed in seeds]
        raise EnvironmentFailure(
            f"{FAILURES} episodes in a row failed, the last one: {cause}"
        ) from cause

    def _replace(self) -> None:
        with contextlib.suppress(Exception):  # what failed need not close in order
            self.env.close()
        try:
            self.env = self._make()
        except Exception as error:
            raise EnvironmentFailure(
                f"{self.env.name} cannot be made again: {type(error).__name__}: {error}"
            ) from error

    def close(self) -> None:
        """Closes the environment."""
        self.env.close()


def evaluate(env, policy: py_policy.PyPolicy, episodes: int, seed) -> Score:
    """Runs episodes without training on them, each with a seed of its own.

    Args:
      env, policy: see `run_episodes`; pass a policy without exploration noise.
      episodes: number of episodes.
      seed: a numpy SeedSequence that the episodes' seeds are spawned from.
    """
    return Score(run_episodes(env, policy, seed.spawn(episodes)))


def check_picture(env) -> None:
    """Draws a picture of an environment, before the work that pictures are wanted of.

    Raises:
      ConfigError: if it has none, or it cannot be drawn.
    """
    try:
        env.reset()
        env.render()
    except Exception as error:  # whatever a simulator or a renderer may raise
        raise config.ConfigError(
            f"{env.name}: there is no picture to make a video of: {error}"
        ) from error


class Watched:
    """A policy whose decisions are timed; before each the picture may be taken.

    Attributes:
      seconds: what each decision took.
      frames: the pictures of the present episode, uint8 [64, 64, 3] each; None: none are taken.
    """

    def __init__(self, policy: py_policy.PyPolicy, source: EnvironmentSource, pictures: bool):
        self._policy, self._source = policy, source
        self.seconds: list[float] = []
        self.frames: list[np.ndarray] | None = [] if pictures else None

    def __getattr__(self, name: str):
        return getattr(self._policy, name)

    def action(self, time_step, policy_state=(), seed=None):
        """Acts as the policy does."""
        if self.frames is not None:
            if time_step.is_first():
                self.frames = []  # those of an episode that failed
            self.frames.append(self._source.env.render())
        start = time.perf_counter()
        step = self._policy.action(time_step, policy_state, seed)
        self.seconds.append(time.perf_counter() - start)
        return step
