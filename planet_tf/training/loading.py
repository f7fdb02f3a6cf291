"""Loads trained agents and policies: from a run's directory, or an exported policy."""

import contextlib
import functools
import os
import pathlib
import sys
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np
from tf_agents.policies import py_policy
from tf_agents.specs import array_spec

from planet_tf import action_specs, config, environments, errors, run_files, runtime, storage
from planet_tf.agents import PlanetAgent, PlanetPolicy, PlanetPyPolicy, building
from planet_tf.environments import actions
from planet_tf.experience import Collector
from planet_tf.planning import CEM, CategoricalCEM
from planet_tf.run_files import Identity
from planet_tf.seeds import RunSeeds, Stream
from planet_tf.training import changed, exported, run_directory
from planet_tf.training.checkpoints import Checkpoints, Which
from planet_tf.training.settings import Settings


class LoadedAgent(NamedTuple):
    """An agent as it was at a checkpoint, and the identity of its run; see `Identity`."""

    agent: PlanetAgent
    identity: Identity

    @property
    def updates(self) -> int:
        """Optimizer steps it was trained for."""
        return int(self.agent.train_step_counter)


class Trained(NamedTuple):
    """A trained policy, without exploration noise, and the environment it acts in."""

    policy: py_policy.PyPolicy
    collector: Collector
    updates: int
    agent: PlanetAgent | None  # None for an exported policy

    @property
    def env(self):
        """The environment, which is a new one after it has failed."""
        return self.collector.env


def load_agent(
    root_dir: str | os.PathLike, checkpoint: Which = None, bindings: Sequence[str] = ()
) -> LoadedAgent:
    """Loads the agent of a run or of an exported policy, without making its environment.

    A running trainer is not disturbed.

    Args:
      root_dir: the run's or the policy's directory. Its config.gin replaces all gin settings.
      checkpoint: its number of episodes, or 'best'; None: the newest that can be read.
      bindings: gin settings that differ from the run's, such as another planner's.

    Raises:
      ConfigError: if there is no such run or checkpoint, or it does not fit this version or the
        bindings.
    """
    root = storage.tensorflow_path(root_dir)
    if checkpoint is not None and exported.is_policy(root):
        raise _without_checkpoints(root, checkpoint)
    identity = parse(root, bindings)
    with errors.as_config_errors():
        settings = Settings()
        # A run that was trained on a GPU may be looked at without one.
        runtime.choose_device("cpu" if settings.device == "cpu" else "auto")
        agent = building.make_agent(identity, runtime.compiles(settings.jit_compile))
        saved = Checkpoints(root / run_files.CHECKPOINTS, agent=agent)
        if exported.is_policy(root):
            exported.restore(agent, root)
        elif saved.restore(checkpoint, partly=True) is None:
            raise errors.ConfigError(f"{root} has no checkpoint yet; one follows every collection")
    return LoadedAgent(agent, identity)


def check_bindings(root_dir: str | os.PathLike, bindings: Sequence[str]) -> None:
    """Parses bindings as `load_agent` does, and makes the planner alone.

    Raises:
      ConfigError: if they cannot be used.
    """
    identity = parse(storage.tensorflow_path(root_dir), bindings)
    with errors.as_config_errors():
        if config.value_of(PlanetPolicy, "planner") is None:
            CategoricalCEM() if identity.get("discrete") else CEM()


def parse(
    root: pathlib.Path,
    bindings: Sequence[str],
    used: Collection[str] = ("train.device", "train.jit_compile"),
) -> Identity:
    """Replaces all gin settings by those of a run or of an exported policy, and some bindings.

    Args:
      root: the directory, with run.json and config.gin.
      bindings: settings that differ.
      used: settings of training that may be among them; see `changed`.

    Returns:
      the run's identity; see `Identity`.

    Raises:
      ConfigError: if the directory holds neither, or a binding cannot be used.
    """
    identity = run_directory.read_identity(root)
    if exported.is_policy(root) and not (root / run_files.SETTINGS).is_file():
        raise _without_settings(root)
    if not (root / run_files.SETTINGS).is_file() or "action_size" not in identity:
        raise errors.ConfigError(f"{root} holds no run of this version (config.gin and run.json)")
    changed.refuse_of_training(bindings, used)
    config.configure([root / run_files.SETTINGS], bindings)
    changed.refuse_of_other_planners(bindings, identity.get("discrete", False))
    return identity


def load(
    path: str | os.PathLike,
    task: str | None = None,
    checkpoint: Which = None,
    bindings: Sequence[str] = (),
    wrap: Callable = lambda env: env,
    report: Callable[[str], None] = print,
) -> Trained:
    """Loads a run's policy or an exported one, and its environment.

    A run's settings replace all gin settings.

    Args:
      path: a run's directory, or an exported policy's.
      task: which task of several, or another one than the policy was trained on; None: the one it
        was trained on.
      checkpoint: a run's; see `load_agent`.
      bindings: gin settings that differ from the run's; with them the model of an exported policy
        is given a new planner.
      wrap: a wrapper around the environment.
      report: called with one line about each failure of the environment.

    Raises:
      ConfigError: if there is nothing to load, or the environment does not fit.
    """
    path = storage.tensorflow_path(path)
    if not (path / run_files.SETTINGS).is_file() or (exported.is_policy(path) and not bindings):
        if exported.is_policy(path):
            _refuse_for_policies(path, checkpoint, bindings)
        policy, agent, differs = exported.load_policy(path), None, {}
        identity, updates = run_directory.read_identity(path), int(policy.get_train_step())
    else:
        agent, identity = loaded = load_agent(path, checkpoint, bindings)
        policy, updates = PlanetPyPolicy(agent.policy), loaded.updates
        differs = {
            key: config.value_of(environments.load, key)
            for key in ("action_repeat", "camera", "kwargs")
            if any(f"load_environment.{key}" in binding for binding in bindings)
        }
    tasks = _by_task(identity)
    task = _chosen(task, tasks, path)
    with errors.as_config_errors():
        collector = Collector(_maker(policy, identity, tasks, task, differs, wrap), report)
    with contextlib.ExitStack() as made:
        made.callback(collector.close)  # if it does not fit
        _check_fits(policy, collector.env, path)
        made.pop_all()
    _report_differences(path, tasks, task, collector.env)
    return Trained(policy, collector, updates, agent)


def _refuse_for_policies(path: pathlib.Path, checkpoint: Which, bindings) -> None:
    if checkpoint is not None:
        raise _without_checkpoints(path, checkpoint)
    if bindings:
        raise _without_settings(path)


def _without_checkpoints(path: pathlib.Path, checkpoint: Which) -> errors.ConfigError:
    return errors.ConfigError(
        f"{path} is not a run: it has no checkpoint {checkpoint!r}", setting="--checkpoint"
    )


def _without_settings(path: pathlib.Path) -> errors.ConfigError:
    return errors.ConfigError(
        f"{path} was exported without its settings (config.gin): they are fixed",
        "export it again from its run with planet-tf export",
    )


def _chosen(task: str | None, tasks: dict, path: pathlib.Path) -> str:
    """Returns the task that is asked for, or the only one."""
    if task is not None:
        return task
    if len(tasks) != 1:
        among = f": {', '.join(tasks)}" if tasks else ""
        raise errors.ConfigError(f"{path}: name a task with --task{among}", setting="--task")
    return next(iter(tasks))


def _maker(policy, identity: Identity, tasks: dict, task: str, differs: dict, wrap) -> Callable:
    """Returns what makes a task's environment as the policy's run made it."""
    differs = {"kwargs": identity.get("kwargs") if task in tasks else None, **differs}
    load_task = functools.partial(
        environments.load,
        task,
        seed=RunSeeds(identity.get("seed", 0)).integer(Stream.ENVIRONMENT),
        observations=tuple(policy.time_step_spec.observation),
        **{**tasks.get(task, {}), **differs},
    )
    # Only one of several tasks may have fewer actions than the policy.
    chooses = not policy.action_spec.shape  # an exported policy's choice is an index
    size = policy.action_spec.shape[0] if len(tasks) > 1 and not chooses else None

    def make():
        env = load_task()
        if action_specs.is_discrete(env.action_spec()):
            return wrap(actions.IndexedActions(env) if chooses else env)
        return wrap(env if size is None else actions.pad(env, size))

    return make


def _check_fits(policy, env, path: pathlib.Path) -> None:
    """Raises ConfigError if an environment's observations or actions are not the policy's."""
    wanted, given = (
        {**{key: tuple(spec.shape) for key, spec in seen.items()}, "action": _described(action)}
        for seen, action in (
            (policy.time_step_spec.observation, policy.action_spec),
            (env.observation_spec(), env.action_spec()),
        )
    )
    if wanted != given:
        raise errors.ConfigError(
            f"{env.name} does not fit the policy in {path}: it has {given}, the policy takes "
            f"{wanted}",
            "name a task that fits with --task",
            "--task",
        )


def _described(action) -> str:
    """Describes the spec of an action: '(3,) in [-1, 1]', or 'one of 3' for a choice."""
    action = array_spec.BoundedArraySpec.from_spec(action)
    low, high = np.min(action.minimum), np.max(action.maximum)
    if not action_specs.is_discrete(action):
        return f"{tuple(action.shape)} in [{low:g}, {high:g}]"
    return f"one of {action.shape[0] if action.shape else high + 1}"  # one-hot, or an index


def _report_differences(path: pathlib.Path, tasks: dict, task: str, env) -> None:
    """Prints how the environment differs from the one that the policy was trained in."""
    if tasks and task not in tasks:
        print(
            f"note: {path} was trained on {' and '.join(tasks)}; it is evaluated on {task} at "
            f"action repeat {env.action_repeat}",
            file=sys.stderr,
        )
    for key, before in tasks.get(task, {}).items():
        if getattr(env, key) != before and before is not None:
            now = getattr(env, key)
            print(f"note: {path} was trained with {key} {before}, now it is {now}", file=sys.stderr)


def _by_task(identity: Identity) -> dict[str, dict]:
    """Returns the action repeat and the camera of each task in an identity."""
    if "task" not in identity:
        return {}
    several = isinstance(identity["task"], list)
    keys = ("task", "action_repeat", "camera")
    columns = [identity.get(key) if several else [identity.get(key)] for key in keys]
    return {
        name: {"action_repeat": repeat, "camera": camera}
        for name, repeat, camera in zip(*columns, strict=True)
    }
