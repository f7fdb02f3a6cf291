"""Names of environments, and `load`, which makes one from its name.

Importing this module, and checking the paper's names, starts neither TensorFlow nor dm_control: a
misspelt name is reported early.
"""

import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from planet_tf import checks, errors

if TYPE_CHECKING:
    from planet_tf.environments.base import TaskEnvironment
    from planet_tf.environments.parallel import ParallelEnvironment

DEFAULT_ACTION_REPEAT = 4  # for tasks that the paper does not name

# The paper's tasks: dm_control domain, task, action repeat.
_PAPER = {
    "cheetah_run": ("cheetah", "run", 4),
    "cartpole_balance": ("cartpole", "balance", 8),
    "cartpole_swingup": ("cartpole", "swingup", 8),
    "reacher_easy": ("reacher", "easy", 4),
    "finger_spin": ("finger", "spin", 2),
    "ball_in_cup_catch": ("ball_in_cup", "catch", 4),
    "walker_walk": ("walker", "walk", 2),
}
_TOY = "dot_goal"

# Cameras of the suite's tasks, by name or domain, where the first one hardly shows the body:
# quadruped's is far away, lqr's looks past the masses, dog_fetch's is in the ball.
_CAMERAS = {"dog_fetch": 2, "lqr": 1, "quadruped": 2}

OBSERVATIONS = ("image", "state")
"""What an environment may show: its image, and the task's own observations as one vector."""


def names() -> tuple[str, ...]:
    """Returns the paper's tasks and the built-in toy, without importing anything heavy."""
    return (*_PAPER, _TOY)


def all_names() -> tuple[str, ...]:
    """Returns every name that `load` knows: `names()` and the suite's, each a `domain_task`."""
    return tuple(dict.fromkeys((*names(), *_suite_tasks())))


def check_name(name: str) -> None:
    """Checks an environment's name; the paper's names and the toy's need no heavy import.

    Raises:
      ConfigError: if no environment has this name; the hint has the nearest names.
    """
    if is_custom(name):
        _custom_function(name)
        return
    if name in names():
        return
    known = all_names()
    if name not in known:
        raise errors.ConfigError(
            f"unknown environment {name!r}",
            f"{checks.did_you_mean(name, known)} "
            f"names: {', '.join(names())}, any domain_task of dm_control "
            "(planet_tf.environments.all_names() lists them), or 'module:function' for your own",
            "train.task",
        )


def is_custom(name: str) -> bool:
    """Whether a name has the form 'module:function'."""
    return isinstance(name, str) and ":" in name


@checks.configurable("load_environment", denylist=["name", "seed", "processes"])
def load(
    name: str,
    seed: int | None = None,
    action_repeat: checks.Count | None = None,
    observations: Sequence[str] = ("image",),
    camera: int | str | None = None,
    processes: int | None = None,
) -> "TaskEnvironment | ParallelEnvironment":
    """Makes a TF-Agents PyEnvironment.

    Observations are a dict of `image`, uint8 [64, 64, 3], or `state`, float32 [N], or both; actions
    float32 [A] in [-1, 1], rewards float32, summed over the action repeat. See TaskEnvironment for
    the rest.

    A name 'module:function', such as 'robots.arm:make', is a custom task: the module is imported
    and its function called as `function(seed=, observations=)`, with `action_repeat=` and `camera=`
    too unless they are None; it has to return a TaskEnvironment. Processes import the module again;
    what gin binds to the function does not reach them.

    Args:
      name: one of `names()`, any `domain_task` of dm_control's suite, or 'module:function'.
      seed: int in [0, 2**32) that decides all randomness in the environment; None: random.
      action_repeat: env steps per agent step. None: the paper's; 1 for dot_goal; the function's own
        default; 4 for other tasks.
      observations: 'image', 'state' or both. The state is what the task itself observes, such as
        positions and velocities. Without 'image' nothing is rendered unless `render` is called, and
        no rendering backend is needed.
      camera: index or name of the camera that draws the image. None: the function's own default; a
        dm_control task's first one, or another that shows its body (quadruped, lqr, dog_fetch).
      processes: number of environments that act in parallel, each in a process of its own, as one
        batched environment; None: one environment in this process.

    Raises:
      ConfigError: if the name is unknown, there are no such observations or camera, the action
        repeat does not fit into an episode, or a custom function returns something else.
      RenderingError: if images are to be observed and no rendering backend works (dot_goal needs
        none).
    """
    check_name(name)
    _check_observations(observations)
    if processes is not None:
        return _parallel(name, processes, seed, action_repeat, observations, camera)
    if name == _TOY:
        return _toy(seed, action_repeat, observations, camera)
    if is_custom(name):
        return _custom(name, seed, action_repeat, observations, camera)
    domain, task, repeat = _task(name)
    from planet_tf.environments import dm_control_env

    return dm_control_env.load_task(
        domain,
        task,
        seed=seed,
        action_repeat=repeat if action_repeat is None else action_repeat,
        observations=observations,
        camera=_CAMERAS.get(name, _CAMERAS.get(domain, 0)) if camera is None else camera,
    )


def needs_rendering(name: str, observations: Sequence[str]) -> bool:
    """Whether `load` needs a rendering backend: for images of dm_control's suite."""
    return name != _TOY and not is_custom(name) and "image" in observations


def load_suite(name: str):
    """Loads the dm_control environment of a task as the suite makes it, for comparisons.

    Raises:
      RenderingError: if no rendering backend works.
    """
    domain, task, _ = _task(name)
    from planet_tf.environments import rendering

    rendering.choose()
    return rendering.import_suite().load(domain, task)


def _check_observations(observations: Sequence[str]) -> None:
    if (
        isinstance(observations, str)
        or not isinstance(observations, Sequence)
        or not observations
        or not all(observations.count(key) == 1 and key in OBSERVATIONS for key in observations)
    ):
        choices = " or ".join(map(repr, OBSERVATIONS))
        raise errors.ConfigError(
            f"load_environment.observations must be a tuple of {choices} or both, such as "
            f"('state',), got {observations!r}",
            setting="load_environment.observations",
        )


def _parallel(name, count, seed, action_repeat, observations, camera) -> "ParallelEnvironment":
    from planet_tf.environments import parallel, rendering

    if needs_rendering(name, observations):
        rendering.choose()  # once, for all processes
    return parallel.ParallelEnvironment(name, count, seed, action_repeat, observations, camera)


def _toy(seed, action_repeat, observations, camera) -> "TaskEnvironment":
    from planet_tf.environments.dot_goal import DotGoal

    if camera is not None:
        raise errors.ConfigError(
            f"{_TOY} has one view: load_environment.camera must be None",
            setting="load_environment.camera",
        )
    return DotGoal(seed, 1 if action_repeat is None else action_repeat, observations=observations)


def _custom_function(name: str) -> Callable[..., "TaskEnvironment"]:
    """Returns the function that a name 'module:function' stands for, or raises ConfigError."""
    module_name, _, function = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, TypeError, ValueError) as error:  # the latter two for '.x:' and ':x'
        raise errors.ConfigError(
            f"environment {name!r}: cannot import {module_name!r} ({error})",
            "PYTHONPATH must hold the module's folder",
            "train.task",
        ) from error
    make = getattr(module, function, None)
    if not callable(make):
        known = [right for right, value in vars(module).items() if callable(value)]
        raise errors.ConfigError(
            f"environment {name!r}: {module_name!r} has no function {function!r}",
            checks.did_you_mean(function, known),
            "train.task",
        )
    return make


def accepted(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Returns those settings that a custom task's function takes; for other tasks all of them."""
    if not is_custom(name):
        return settings
    parameters = inspect.signature(_custom_function(name)).parameters.values()
    if any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters):
        return settings
    names = [parameter.name for parameter in parameters]
    return {key: value for key, value in settings.items() if key in names}


def _custom(name, seed, action_repeat, observations, camera) -> "TaskEnvironment":
    """Calls the function of a name 'module:function' and checks what it returns."""
    make, optional = _custom_function(name), {"action_repeat": action_repeat, "camera": camera}
    settings: dict[str, Any] = {"seed": seed, "observations": tuple(observations)}
    settings |= {key: value for key, value in optional.items() if value is not None}
    try:
        inspect.signature(make).bind(**settings)
    except TypeError as error:
        call = ", ".join(f"{key}={value!r}" for key, value in settings.items())
        raise errors.ConfigError(
            f"environment {name!r}: {error}; it is called as {name.partition(':')[2]}({call})"
        ) from error
    try:
        env = make(**settings)
    except ValueError as error:
        raise errors.ConfigError(f"environment {name!r}: {error}") from error
    _check_custom(name, env, settings)
    env.name = name
    return env


def _check_custom(name: str, env, settings: dict[str, Any]) -> None:
    from planet_tf.environments.base import TaskEnvironment

    if not isinstance(env, TaskEnvironment):
        raise errors.ConfigError(
            f"environment {name!r}: the function must return a TaskEnvironment, got {env!r}",
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
            "pass on what the function is called with",
        )


def _task(name: str) -> tuple[str, str, int]:
    """Returns a dm_control task's domain, task and action repeat."""
    return _PAPER.get(name) or (*_suite_tasks()[name], DEFAULT_ACTION_REPEAT)


def _suite_tasks() -> dict[str, tuple[str, str]]:
    """Returns dm_control's (domain, task) by name; both may hold underscores."""
    from planet_tf.environments import rendering

    tasks = rendering.import_suite().ALL_TASKS
    return {f"{domain}_{task}": (domain, task) for domain, task in tasks}
