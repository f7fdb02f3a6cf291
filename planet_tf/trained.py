"""What training left, taken up to be looked at: a run's directory, or an exported policy alone."""

import json
import os
import pathlib
from collections.abc import Sequence

import gin
from tf_agents.policies import py_tf_eager_policy

from planet_tf import checkpoints, config, devices, environments, runs, training
from planet_tf.environments import padded_actions

_SETTINGS = ("task", "seed", "batch_size", "chunk_length")


def load_run(
    root_dir: str | os.PathLike, number: int | None = None, bindings: Sequence[str] = ()
) -> runs.Run:
    """Builds a run as it was at a checkpoint; beside a trainer too, for nothing is written.

    Args:
      root_dir: the run's directory. Its config.gin takes the place of all gin settings.
      number: the checkpoint's; None: the newest that can be read.
      bindings: gin settings other than the run's, such as another planner's.

    Raises:
      ConfigError: if there is no such run or checkpoint, or it does not fit this version or the
        bindings.
    """
    root = pathlib.Path(root_dir)
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
    return run


def load(
    path: str | os.PathLike,
    task: str | None = None,
    number: int | None = None,
    bindings: Sequence[str] = (),
):
    """Loads a run's policy or an exported one, and its environment.

    Args:
      path: a run's directory, or an exported policy's.
      task: which task of a run that has several, or the task of an exported policy that stands
        alone; None: the run's, or that of the run.json beside the policy.
      number: a run's checkpoint; None: the newest.
      bindings: gin settings other than the run's.

    Returns:
      policy (a PyPolicy without noise), environment, and the run, None of an exported policy.

    Raises:
      ConfigError: if there is no such thing, or the environment does not fit.
    """
    if not (pathlib.Path(path) / "config.gin").is_file():
        if number is not None:
            raise config.ConfigError(f"{path} is no run: it has no checkpoint {number}")
        if bindings:
            raise config.ConfigError(f"{path} is no run: an exported policy's settings are fixed")
        policy = load_policy(path)
        return policy, load_environment(policy, path, task), None
    run = load_run(path, number, bindings)
    names = run.tasks.names
    if (task or names[0]) not in names or (task is None and len(names) > 1):
        raise config.ConfigError(f"{path}: name one of its tasks with --task: {', '.join(names)}")
    return run.policy, run.tasks.envs[names.index(task or names[0])], run


def load_policy(directory: str | os.PathLike) -> py_tf_eager_policy.SavedModelPyTFEagerPolicy:
    """Loads an exported policy.

    Raises:
      ConfigError: if the directory holds none.
    """
    path = pathlib.Path(directory)
    devices.choose()
    if not (path / "saved_model.pb").is_file() or not (path / "policy_specs.pbtxt").is_file():
        raise config.ConfigError(f"{path} holds neither a run (config.gin) nor an exported policy")
    return py_tf_eager_policy.SavedModelPyTFEagerPolicy(os.fspath(path), load_specs_from_pbtxt=True)


def load_environment(policy, directory: str | os.PathLike, task: str | None = None):
    """Loads the environment that an exported policy was trained in.

    Args:
      policy: of `load_policy`; says what it observes.
      directory: the policy's; the run.json beside it says the task and the action repeat.
      task: the task, where there is no such file.

    Raises:
      ConfigError: if the task is not known, or does not fit the policy.
    """
    file = pathlib.Path(directory).resolve().parent / "run.json"
    run = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if task is None and not isinstance(run.get("task"), str):
        raise config.ConfigError(f"{directory}: name one of its tasks with --task")
    repeat = run.get("action_repeat") if task in (None, run.get("task")) else None
    with config.config_errors():
        env = environments.load(
            task or run["task"],
            action_repeat=repeat,
            observations=tuple(policy.time_step_spec.observation),
        )
    size = policy.action_spec.shape[0]
    if env.action_spec().shape[0] < size:  # it learned several tasks, of which this has fewer
        env = padded_actions.PaddedActions(env, size)
    wanted, given = (
        {key: tuple(spec.shape) for key, spec in {**observation, "action": action}.items()}
        for observation, action in (
            (policy.time_step_spec.observation, policy.action_spec),
            (env.observation_spec(), env.action_spec()),
        )
    )
    if wanted != given:
        raise config.ConfigError(
            f"{env.name} does not fit the policy in {directory}: it has {given}, the policy takes "
            f"{wanted}; name its own task with --task"
        )
    return env
