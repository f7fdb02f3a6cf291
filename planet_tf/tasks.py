"""The tasks that a run learns, one or several: their environments, and what is counted in them."""

import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tf_agents.metrics import py_metrics
from tf_agents.trajectories import time_step as ts, trajectory

from planet_tf import config, environments, evaluation, replay
from planet_tf.environments import padded_actions


class Tasks:
    """The environments of a run's tasks, and TF-Agents' metrics of the episodes collected there.

    Episode number n is of task n modulo their number: a resumed run goes on with the next one, and
    what an episode's agent steps are in env steps follows from its number.

    Attributes:
      sources: an environment a task, replaced when it fails. Their specs agree: an action is as
        large as the largest task's, and the others' environments leave out what they do not have.
      names: the tasks'.
      metrics: the metrics by name, for checkpoints.
      failures: a variable that counts the failures of environments.
    """

    def __init__(
        self, task: str | Sequence[str], seed: int, environments_at_once: int, chunk_length: int
    ):
        """Loads the environments.

        Args:
          task: a name that `environments.load` takes, or several.
          seed: of each environment.
          environments_at_once: environments of a task, which must be 1 if there are several tasks.
          chunk_length: frames that an episode must have at least, of whichever task.

        Raises:
          ConfigError, ValueError: if a setting cannot be used.
        """
        self.names = names = checked(task)
        self.several = len(names) > 1
        self.failures = tf.Variable(0, trainable=False, name="failures")
        if self.several and environments_at_once > 1:
            raise config.ConfigError(
                f"train.environments ({environments_at_once}) must be 1 with several tasks: "
                "episodes are collected from each in turn"
            )
        load = functools.partial(environments.load, seed=seed, count=environments_at_once)
        loaded = [load(name) for name in names]
        for env in loaded:
            if chunk_length > env.max_steps + 1:
                raise config.ConfigError(
                    f"train.chunk_length ({chunk_length}) exceeds the {env.max_steps + 1} frames "
                    f"of an episode of {env.name} at action repeat {env.action_repeat}"
                )
            if env.observation_spec() != loaded[0].observation_spec():
                sizes = {env.name: env.observation_spec()["state"].shape[0] for env in loaded}
                raise config.ConfigError(
                    f"the tasks' states differ in size, {sizes}: one agent can learn these from "
                    "load_environment.observations = ('image',) alone"
                )
        size = max(env.action_spec().shape[0] for env in loaded)
        first = dict(zip(names, loaded, strict=True))  # the others are made after a failure

        def make(name: str):
            return padded_actions.padded(first.pop(name, None) or load(name), size)

        self.sources = [
            evaluation.EnvironmentSource(functools.partial(make, name)) for name in names
        ]
        # TF-Agents' EnvironmentSteps counts what is an agent step here.
        self._agent_steps = [py_metrics.EnvironmentSteps() for _ in names]
        steps = [f"agent_steps_{name}" for name in names] if self.several else ["agent_steps"]
        self.metrics = {
            "return": py_metrics.AverageReturnMetric(buffer_size=1, batch_size=1),
            "length": py_metrics.AverageEpisodeLengthMetric(buffer_size=1, batch_size=1),
            "episodes": py_metrics.NumberOfEpisodes(),
            **dict(zip(steps, self._agent_steps, strict=True)),
        }

    @property
    def envs(self) -> list:
        """The environment of each task that is in use."""
        return [source.env for source in self.sources]

    def env(self, number: int):
        """Returns the environment that episode `number` is of."""
        return self.sources[number % len(self.sources)].env

    def run_episodes(self, number: int, policy, seeds, say) -> list[replay.Episode]:
        """Runs episodes of the task that episode `number` is of; counts the failures.

        See `evaluation.EnvironmentSource`; `say` is called with a line about each failure.
        """

        def failed(line: str) -> None:
            self.failures.assign_add(1)
            say(f"{line}, {int(self.failures)} in all")

        return self.sources[number % len(self.sources)].run_episodes(policy, seeds, failed)

    def identity(self) -> dict:
        """Returns what must not change within a run; of several tasks, lists."""
        observations = sorted(self.envs[0].observation_spec())
        by_task = {
            "task": self.names,
            "action_repeat": [env.action_repeat for env in self.envs],
            "camera": [env.camera if "image" in observations else None for env in self.envs],
        }
        return {
            **{key: value if self.several else value[0] for key, value in by_task.items()},
            "observations": observations,
        }

    def observe(self, number: int, episode: replay.Episode) -> None:
        """Feeds a collected episode to the metrics, as a driver of one environment would."""
        observers = [self.metrics[key] for key in ("return", "length", "episodes")]
        observers.append(self._agent_steps[number % len(self.envs)])
        decisions = len(episode["reward"]) - 1
        kinds = [ts.StepType.FIRST, *[ts.StepType.MID] * (decisions - 1), ts.StepType.LAST]
        for t in range(decisions):
            step = trajectory.Trajectory(
                step_type=np.asarray(kinds[t]),
                observation=(),
                action=(),
                policy_info=(),
                next_step_type=np.asarray(kinds[t + 1]),
                reward=episode["reward"][t + 1],
                discount=episode["discount"][t + 1],
            )
            for observer in observers:
                observer(step)

    def steps(self) -> dict[str, int]:
        """Returns agent steps, and the env steps that they took at each task's action repeat."""
        counts = [int(metric.result()) for metric in self._agent_steps]
        repeats = [env.action_repeat for env in self.envs]
        return {"agent_steps": sum(counts), "env_steps": int(np.dot(counts, repeats))}

    def close(self) -> None:
        """Closes the environments."""
        for source in self.sources:
            source.close()


def checked(task: str | Sequence[str]) -> list[str]:
    """Returns the names that `train.task` holds; raises ValueError for wrong ones."""
    if not task:
        raise config.ConfigError(
            "no task: name a task's file, such as --gin_file=gin/cheetah.gin, or "
            "--gin_bindings=\"train.task='cheetah_run'\""
        )
    names = [task] if isinstance(task, str) else task
    if not isinstance(names, (tuple, list)):
        raise config.ConfigError(f"train.task must be a name or a tuple of names, got {task!r}")
    for name in names:
        environments.check_name(name)
    if len(set(names)) < len(names):
        raise config.ConfigError(f"train.task must name each task once, got {task!r}")
    return list(names)
