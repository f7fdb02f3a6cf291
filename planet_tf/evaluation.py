"""Episodes in an environment: driving a policy, and scoring one."""

import dataclasses

import numpy as np
import tensorflow as tf
from tf_agents.drivers import py_driver
from tf_agents.policies import py_policy

from planet_tf import replay


@dataclasses.dataclass
class Score:
    """Returns of evaluation episodes, and the episodes themselves."""

    returns: list[float]
    episodes: list[replay.Episode]

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(np.mean(self.returns))

    @property
    def std(self) -> float:
        """Population standard deviation of the returns."""
        return float(np.std(self.returns))


def run_episode(env, policy: py_policy.PyPolicy, seed, observers=()) -> replay.Episode:
    """Drives a policy through one episode.

    Args:
      env: an environment of `planet_tf.environments`.
      policy: a PlanetPyPolicy, an exported one, or any PyPolicy without a state.
      seed: a numpy SeedSequence; decides all that is random in the environment and a PlanetPolicy.
      observers: TF-Agents metrics and other observers of trajectories.

    Returns:
      The aligned episode; see `replay.align`.
    """
    env_seed, *policy_seed = (int(word) for word in seed.generate_state(3))
    env.seed(env_seed)
    recorder = replay.EpisodeRecorder()
    driver = py_driver.PyDriver(
        env,
        policy,
        observers=list(observers),
        transition_observers=[recorder],
        max_episodes=1,
        end_episode_on_boundary=False,  # ends at the LAST step, without an action from it
    )
    state = policy.get_initial_state(1)
    if isinstance(state, dict):  # a PlanetPolicy's, from code or from a SavedModel
        words = np.array([policy_seed], np.uint32).astype(np.int32)
        state = {**state, "seed": tf.constant(words)}
    driver.run(env.reset(), state)
    return recorder.episodes[0]


def evaluate(env, policy: py_policy.PyPolicy, episodes: int, seed) -> Score:
    """Runs episodes without training on them, each with a seed of its own.

    Args:
      env: an environment of `planet_tf.environments`.
      policy: the policy to score; pass one without exploration noise.
      episodes: number of episodes.
      seed: a numpy SeedSequence that the episodes' seeds are spawned from.
    """
    runs = [run_episode(env, policy, child) for child in seed.spawn(episodes)]
    return Score([float(run["reward"].sum()) for run in runs], runs)
