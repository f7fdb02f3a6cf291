"""The tasks that a run learns, one or several, and their environments."""

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from tf_agents.policies import py_policy

from planet_tf import action_specs, config, environments, errors
from planet_tf.environments import actions
from planet_tf.experience.collector import Collector
from planet_tf.experience.episode import Episode
from planet_tf.run_files import Identity
from planet_tf.training import interrupts


class Tasks:
    """The environments of a run's tasks.

    Episode number n is of task n modulo their number: a resumed run continues with the next one.

    Attributes:
      names: the names of the tasks.
      collectors: one per task. The environments' specs agree: an action is as large as the largest
        task's, and the other environments ignore components that they do not have.
    """

    def __init__(
        self, task: str | Sequence[str], seed: int, rows: int, report: Callable[[str], None] = print
    ):
        """Makes the environments.

        Args:
          task: a name that `environments.load` takes, or several.
          seed: of each environment.
          rows: environments per task; 1 if there are several tasks.
          report: called with one line about each failure of an environment.

        Raises:
          ConfigError: if a setting cannot be used.
        """
        self.names = checked(task)
        self.collectors = _collectors(self.names, seed, rows, report)

    @property
    def several(self) -> bool:
        """Whether there is more than one task."""
        return len(self.names) > 1

    @property
    def env(self):
        """The first task's environment."""
        return self.collectors[0].env

    def name(self, number: int) -> str:
        """Returns the task of episode `number`."""
        return self.names[number % len(self.names)]

    def episodes(
        self,
        policy: py_policy.PyPolicy,
        sequence: Callable[[int], np.random.SeedSequence],
        first: int,
        count: int,
    ) -> Iterator[Episode]:
        """Yields the episodes first, ..., first + count - 1 with the seeds of their numbers."""
        rows = self.env.batch_size or 1  # with several tasks there is one row
        for start in range(first, first + count, rows):
            numbers = range(start, min(start + rows, first + count))
            yield from self.collect(start, policy, [sequence(number) for number in numbers])

    def collect(
        self, number: int, policy: py_policy.PyPolicy, seeds: Sequence[np.random.SeedSequence]
    ) -> list[Episode]:
        """Collects episodes of the task of episode `number`; see `Collector.collect`."""
        collector = self.collectors[number % len(self.names)]
        return collector.collect(policy, seeds, [interrupts.check])

    def identity(self, seed: int) -> Identity:
        """Returns what must not change within a run of this seed."""
        envs = [collector.env for collector in self.collectors]
        observed, action = self.env.observation_spec(), self.env.action_spec()
        kwargs = _checked_kwargs()

        def by_task(values: list) -> Any:
            return values if self.several else values[0]

        identity: Identity = {
            "seed": seed,
            "task": by_task(self.names),
            "action_repeat": by_task([env.action_repeat for env in envs]),
            "camera": by_task([env.camera if "image" in observed else None for env in envs]),
            "observations": {key: list(spec.shape) for key, spec in sorted(observed.items())},
            "action_size": action.shape[0],
        }
        if action_specs.is_discrete(action):
            identity["discrete"] = True
        if any(env.terminates for env in envs):
            identity["terminates"] = True
        if kwargs:
            identity["kwargs"] = kwargs
        return identity

    def env_steps(self, agent_steps: dict[str, int]) -> int:
        """Returns the env steps of agent steps by task, at each task's action repeat."""
        repeats = {collector.env.name: collector.env.action_repeat for collector in self.collectors}
        return int(sum(repeats[name] * count for name, count in agent_steps.items()))

    def close(self) -> None:
        """Closes the environments."""
        for collector in self.collectors:
            collector.close()


def _checked_kwargs() -> dict | None:
    """Returns load_environment.kwargs, which run.json holds; raises ConfigError if it cannot."""
    kwargs = config.value_of(environments.load, "kwargs")
    try:
        if json.loads(json.dumps(kwargs)) != kwargs:
            raise TypeError("JSON has no tuples, and only texts as keys")
    except TypeError as error:
        raise errors.ConfigError(
            f"load_environment.kwargs: {error}",
            "give the function numbers, texts, lists and dicts of them",
            "load_environment.kwargs",
        ) from error
    return kwargs


def _collectors(names: list[str], seed: int, rows: int, report) -> list[Collector]:
    def load(name: str) -> Any:
        return environments.load(name, seed, processes=rows if rows > 1 else None)

    loaded = {name: load(name) for name in names}
    _check_states_agree(list(loaded.values()))
    _check_actions_agree(list(loaded.values()))
    size = max(env.action_spec().shape[0] for env in loaded.values())

    def make(name: str) -> Any:  # the first time the loaded one, after a failure a new one
        return actions.pad(loaded.pop(name, None) or load(name), size)

    return [Collector(functools.partial(make, name), report) for name in names]


def _check_states_agree(envs: list) -> None:
    if any(env.observation_spec() != envs[0].observation_spec() for env in envs):
        sizes = {env.name: int(np.prod(env.observation_spec()["state"].shape)) for env in envs}
        raise errors.ConfigError(
            f"the tasks' states differ in size, {sizes}: one agent can learn these tasks only from "
            "load_environment.observations = ('image',)",
            setting="load_environment.observations",
        )


def _check_actions_agree(envs: list) -> None:
    """Vectors are padded to the largest; a choice among others cannot be."""
    if not any(action_specs.is_discrete(env.action_spec()) for env in envs):
        return
    if any(env.action_spec() != envs[0].action_spec() for env in envs):
        kinds = {
            env.name: f"{'one of ' * action_specs.is_discrete(spec)}{spec.shape[0]}"
            for env, spec in ((env, env.action_spec()) for env in envs)
        }
        raise errors.ConfigError(
            f"the tasks' actions differ, {kinds}: one agent cannot learn them together",
            setting="train.task",
        )


def checked(task: str | Sequence[str]) -> list[str]:
    """Returns the names in `train.task`; raises ConfigError for wrong ones."""
    if not task:
        raise errors.ConfigError(
            "no task",
            "name a task's file, such as --gin_file=gin/cheetah.gin, or a task, such as "
            "--gin_bindings=\"train.task='cheetah_run'\"",
            "train.task",
        )
    names = [task] if isinstance(task, str) else task
    if not isinstance(names, (tuple, list)):
        raise errors.ConfigError(
            f"train.task must be a name or a tuple of names, got {task!r}", setting="train.task"
        )
    for name in names:
        environments.check_name(name)
    if len(set(names)) < len(names):
        raise errors.ConfigError(
            f"train.task must name each task once, got {task!r}", setting="train.task"
        )
    return list(names)
