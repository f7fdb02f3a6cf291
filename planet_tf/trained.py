"""Loads what training left: a run's directory, or an exported policy alone."""

import functools
import json
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

import gin
from tf_agents.policies import py_policy, py_tf_eager_policy

from planet_tf import (
    checkpoints,
    config,
    devices,
    environments,
    evaluation,
    paths,
    run_directory,
    runs,
    training,
)
from planet_tf.environments import padded_actions

_SETTINGS = ("task", "seed", "batch_size", "chunk_length")


class Trained(NamedTuple):
    """A trained policy, without exploration noise, and the environment it acts in."""

    policy: py_policy.PyPolicy
    source: evaluation.EnvironmentSource
    run: runs.Run | None  # None of an exported policy


def load_run(
    root_dir: str | os.PathLike, number: int | None = None, bindings: Sequence[str] = ()
) -> runs.Run:
    """Builds a run as it was at a checkpoint; while it is trained too, for nothing is written.

    Args:
      root_dir: the run's directory. Its config.gin takes the place of all gin settings.
      number: the checkpoint's; None: the newest that can be read.
      bindings: gin settings other than the run's, such as another planner's.

    Raises:
      ConfigError: if there is no such run or checkpoint, or it does not fit this version or the
        bindings.
    """
    root = paths.for_tensorflow(root_dir)
    if not (root / "config.gin").is_file():
        raise config.ConfigError(f"{root} holds no run: it has no config.gin")
    gin.clear_config()
    config.parse([os.fspath(root / "config.gin")], bindings)
    with config.config_errors():
        devices.choose()
        settings = {name: config.value_of(training.train, name) for name in _SETTINGS}
        run = runs.Run(root, **settings, jit_compile=None)
        saved = checkpoints.Checkpoints(root / "checkpoints", agent=run.agent)
        if saved.restore(number, partly=True) is None:
            raise config.ConfigError(f"{root} has no checkpoint yet; one follows every collection")
    _report_changes(root, run.identity())
    return run


def load(
    path: str | os.PathLike,
    task: str | None = None,
    number: int | None = None,
    bindings: Sequence[str] = (),
) -> Trained:
    """Loads a run's policy or an exported one, and its environment.

    Args:
      path: a run's directory, or an exported policy's.
      task: which task of several, or another one than an exported policy was trained on; None: the
        one it was trained on.
      number: a run's checkpoint; None: the newest.
      bindings: gin settings other than the run's.

    Raises:
      ConfigError: if there is no such thing, or the environment does not fit.
    """
    path = paths.for_tensorflow(path)
    if not (path / "config.gin").is_file():
        if number is not None:
            raise config.ConfigError(f"{path} is no run: it has no checkpoint {number}")
        if bindings:
            raise config.ConfigError(f"{path} is no run: an exported policy's settings are fixed")
        policy = load_policy(path)
        return Trained(policy, load_environment(policy, path, task), None)
    run = load_run(path, number, bindings)
    names = run.tasks.names
    if (task or names[0]) not in names or (task is None and len(names) > 1):
        raise config.ConfigError(f"{path}: name one of its tasks with --task: {', '.join(names)}")
    return Trained(run.policy, run.tasks.sources[names.index(task or names[0])], run)


def load_policy(directory: str | os.PathLike) -> py_tf_eager_policy.SavedModelPyTFEagerPolicy:
    """Loads an exported policy.

    Raises:
      ConfigError: if the directory holds none.
    """
    path = paths.for_tensorflow(directory)
    devices.choose()
    if not (path / "saved_model.pb").is_file() or not (path / "policy_specs.pbtxt").is_file():
        raise config.ConfigError(f"{path} holds neither a run (config.gin) nor an exported policy")
    return py_tf_eager_policy.SavedModelPyTFEagerPolicy(os.fspath(path), load_specs_from_pbtxt=True)


def load_environment(
    policy: py_policy.PyPolicy, directory: str | os.PathLike, task: str | None = None
) -> evaluation.EnvironmentSource:
    """Loads the environment that an exported policy was trained in, or another that fits it.

    Args:
      policy: of `load_policy`; says what it observes.
      directory: the policy's; its run.json says the task, action repeat, camera and seed.
      task: one of several tasks, or another one than it was trained on, which is reported; needed
        where there is no run.json.

    Raises:
      ConfigError: if the task is not known, or does not fit the policy.
    """
    path = paths.expanded(directory)
    trained_on = _read_identity(path)
    tasks = _by_task(trained_on)
    if task is None:
        if len(tasks) != 1:
            among = f": {', '.join(tasks)}" if tasks else ""
            raise config.ConfigError(f"{path}: name one of its tasks with --task{among}")
        (task,) = tasks
    make = functools.partial(
        environments.load,
        task,
        seed=runs.environment_seed(trained_on.get("seed", 0)),
        observations=tuple(policy.time_step_spec.observation),
        **tasks.get(task, {}),
    )
    size = policy.action_spec.shape[0]
    with config.config_errors():
        # Of several tasks some may have fewer actions than the policy.
        several = len(tasks) > 1
        source = evaluation.EnvironmentSource(
            lambda: padded_actions.padded(make(), size) if several else make()
        )
    _check_fits(policy, source.env, path)
    if tasks and task not in tasks:
        print(
            f"note: {path} was trained on {' and '.join(tasks)}, it acts in {task} at action "
            f"repeat {source.env.action_repeat}",
            file=sys.stderr,
        )
    return source


def _check_fits(policy, env, path: pathlib.Path) -> None:
    """Raises ConfigError if an environment shows or takes something else than a policy."""
    wanted, given = (
        {key: tuple(spec.shape) for key, spec in {**observation, "action": action}.items()}
        for observation, action in (
            (policy.time_step_spec.observation, policy.action_spec),
            (env.observation_spec(), env.action_spec()),
        )
    )
    if wanted != given:
        raise config.ConfigError(
            f"{env.name} does not fit the policy in {path}: it has {given}, the policy takes "
            f"{wanted}; name its own task with --task"
        )


def _read_identity(directory: pathlib.Path) -> dict:
    """Returns what run.json in a run's or a policy's directory says, see `runs.Run.identity`."""
    file = directory / "run.json"
    try:
        return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}
    except (ValueError, TypeError) as error:
        raise config.ConfigError(f"{file} cannot be read ({error}): delete it") from error


def _by_task(identity: dict) -> dict[str, dict]:
    """Returns the action repeat and the camera of each task in an identity."""
    several = isinstance(identity.get("task"), list)
    keys = [key for key in ("action_repeat", "camera") if key in identity]
    columns = [identity[key] if several else [identity[key]] for key in keys]
    names = identity.get("task", [])
    return (
        {
            name: {key: column[i] for key, column in zip(keys, columns, strict=True)}
            for i, name in enumerate(names if several else [names])
        }
        if names
        else {}
    )


def _report_changes(root: pathlib.Path, now: dict) -> None:
    """Prints what bindings changed of the task, action repeat, camera or observations of a run."""
    if before := _read_identity(root):
        for change in run_directory.changes(before, now):
            print(f"note: {root} was trained with another {change}", file=sys.stderr)
