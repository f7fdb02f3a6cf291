"""Custom tasks: functions of the user that return an environment, named 'module:function'."""

import importlib
import inspect
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from planet_tf import checks, errors

if TYPE_CHECKING:
    from planet_tf.environments.base import TaskEnvironment


GYMNASIUM = "gym:"
"""Begins the names of Gymnasium's registered environments, which are no custom tasks."""


def is_custom(name: str) -> bool:
    """Whether a name has the form 'module:function'."""
    return isinstance(name, str) and ":" in name and not name.startswith(GYMNASIUM)


def function(name: str) -> Callable[..., Any]:
    """Returns the function that a name 'module:function' stands for, or raises ConfigError."""
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, TypeError, ValueError) as error:  # the latter two for '.x:' and ':x'
        raise errors.ConfigError(
            f"environment {name!r}: cannot import {module_name!r} ({error})",
            "PYTHONPATH must hold the module's folder",
            "train.task",
        ) from error
    make = getattr(module, attribute, None)
    if not callable(make):
        known = [right for right, value in vars(module).items() if callable(value)]
        raise errors.ConfigError(
            f"environment {name!r}: {module_name!r} has no function {attribute!r}",
            checks.did_you_mean(attribute, known),
            "train.task",
        )
    return make


def load(name, seed, action_repeat, observations, camera, kwargs) -> "TaskEnvironment":
    """Calls the function of a name 'module:function' and checks what it returns.

    The function need not take the action repeat and the camera if its environment has those that
    are asked for. A gymnasium.Env is given any action repeat here; its function takes none.

    Raises:
      ConfigError: if it cannot be called, or returns something else than what was asked for.
    """
    from planet_tf.environments import gymnasium_env

    optional = {"action_repeat": action_repeat, "camera": camera}
    settings = {"seed": seed, "observations": tuple(observations), **optional}
    if twice := sorted(settings.keys() & (kwargs or {}).keys()):
        raise errors.ConfigError(
            f"load_environment.kwargs holds {', '.join(twice)}, which have settings of their own",
            "train.seed, load_environment.observations, ...",
            "load_environment.kwargs",
        )
    unset = {key for key, value in optional.items() if value is None}
    settings = {key: settings[key] for key in settings if key not in unset} | (kwargs or {})
    taken = _taken(name, settings, optional)
    env = _call(name, taken)
    if gymnasium_env.is_environment(env):
        _refuse_action_repeat(name, env, taken)
        repeat = 1 if action_repeat is None else action_repeat
        env = gymnasium_env.GymnasiumEnvironment(env, name, repeat, observations, seed)
        env.camera = taken.get("camera")
    _check(name, env, settings)
    env.name = name
    return env


def _taken(name: str, settings: dict[str, Any], optional: Collection[str]) -> dict[str, Any]:
    """Returns the settings without the optional ones that the function does not take."""
    parameters = inspect.signature(function(name)).parameters
    takes_all = any(each.kind == each.VAR_KEYWORD for each in parameters.values())
    return {
        key: value
        for key, value in settings.items()
        if key not in optional or key in parameters or takes_all
    }


def _refuse_action_repeat(name: str, env, taken: dict[str, Any]) -> None:
    """Raises ConfigError if the function of a gymnasium.Env would repeat actions, too."""
    if "action_repeat" in {*taken, *inspect.signature(function(name)).parameters}:
        env.close()
        raise errors.ConfigError(
            f"environment {name!r}: its function takes action_repeat and returns a gymnasium.Env, "
            "whose actions planet_tf repeats itself",
            "let it take neither that nor **kwargs; load_environment.action_repeat sets it",
            "train.task",
        )


def _call(name: str, taken: dict[str, Any]):
    """Calls the function of a custom task."""
    make = function(name)
    try:
        inspect.signature(make).bind(**taken)
    except TypeError as error:
        call = ", ".join(f"{key}={value!r}" for key, value in taken.items())
        raise errors.ConfigError(
            f"environment {name!r}: {error}; it is called as {name.partition(':')[2]}({call})"
        ) from error
    try:
        return make(**taken)
    except ValueError as error:
        raise errors.ConfigError(f"environment {name!r}: {error}") from error


def _check(name: str, env, settings: dict[str, Any]) -> None:
    from planet_tf.environments.base import TaskEnvironment

    if not isinstance(env, TaskEnvironment):
        raise errors.ConfigError(
            f"environment {name!r}: the function must return a TaskEnvironment or a "
            f"gymnasium.Env, got {env!r}",
            "DmControlEnvironment wraps a dm_control environment, TfAgentsEnvironment one of "
            "TF-Agents",
        )
    observations = tuple(env.observation_spec())
    returned = {"action_repeat": env.action_repeat, "camera": env.camera}
    same = all(settings[key] == value for key, value in returned.items() if key in settings)
    if not same or set(observations) != set(settings["observations"]):
        raise errors.ConfigError(
            f"environment {name!r}: asked for {settings}, the function returned an environment "
            f"with {returned} that shows {observations}",
            "the function must take them and pass them on",
        )
