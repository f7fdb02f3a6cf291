"""Environments that show pixels or states and take actions in [-1, 1]: `load(name)`.

Importing this package, and checking the paper's names, starts neither TensorFlow nor dm_control: a
misspelt name is answered early.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import gin

if TYPE_CHECKING:
    from planet_tf.environments.processes import EnvironmentProcesses
    from planet_tf.environments.task_environment import TaskEnvironment

DEFAULT_ACTION_REPEAT = 4  # for the tasks that the paper does not name

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
"""What an environment may show: its picture, and the task's own observations as one vector."""


def names() -> tuple[str, ...]:
    """Returns the paper's tasks and the built-in toy, without importing anything heavy."""
    return (*_PAPER, _TOY)


def all_names() -> tuple[str, ...]:
    """Returns every name that `load` knows: `names()` and the suite's, each a `domain_task`."""
    return tuple(dict.fromkeys((*names(), *_suite_tasks())))


def check_name(name: str) -> None:
    """Checks an environment's name; the paper's names and the toy's need no heavy import.

    Raises:
      ValueError: if no environment has this name; the message holds the nearest right names.
    """
    if name in names():
        return
    if _is_own(name):
        _maker(name)
        return
    known = all_names()
    if name in known:
        return
    raise ValueError(
        f"unknown environment {name!r}: {_hint(name, known)}Names: {', '.join(names())}, any "
        "domain_task of dm_control (planet_tf.environments.all_names() lists them), or "
        "'module:function' for one of your own."
    )


@gin.configurable("load_environment", module="planet_tf", denylist=["name", "seed", "count"])
def load(
    name: str,
    seed: int | None = None,
    action_repeat: int | None = None,
    count: int = 1,
    observations: Sequence[str] = ("image",),
    camera: int | str | None = None,
) -> TaskEnvironment | EnvironmentProcesses:
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
      seed: int in [0, 2**32) that decides everything random in the environment; None: random.
      action_repeat: env steps an agent step. None: the paper's; 1 for dot_goal; the function's own
        default; 4 for other tasks.
      count: with more than 1, so many environments at once in processes of their own, as one
        batched environment; see EnvironmentProcesses.
      observations: 'image', 'state' or both. The state is what the task itself observes, such as
        positions and velocities. Without 'image' nothing is rendered unless `render` is called, and
        no rendering backend is needed.
      camera: index or name of the camera that draws the picture. None: the function's own default;
        a dm_control task's first one, or another that shows its body (quadruped, lqr, dog_fetch).

    Raises:
      ValueError: if the name is unknown, there are no such observations or camera, the action
        repeat does not fit into an episode, or a custom function makes something else than it was
        asked for.
      RenderingError: if images are to be observed and no rendering backend works (dot_goal needs
        none).
      WorkerError: if a process cannot make its environment.
    """
    check_name(name)
    _check_observations(observations)
    if count != 1:
        from planet_tf.environments import processes, rendering

        if needs_rendering(name, observations):
            rendering.choose()  # once, for all processes
        return processes.EnvironmentProcesses(
            name, count, action_repeat, seed, observations, camera
        )
    if name == _TOY:
        if camera is not None:
            raise ValueError(f"{name} has one view: load_environment.camera must be None")
        from planet_tf.environments.dot_goal import DotGoal

        repeat = 1 if action_repeat is None else action_repeat
        return DotGoal(seed=seed, action_repeat=repeat, observations=observations)
    if _is_own(name):
        return _make_own(name, seed, action_repeat, observations, camera)
    domain, task, repeat = _task(name)
    from planet_tf.environments import dm_control_environment

    return dm_control_environment.load_task(
        domain,
        task,
        seed=seed,
        action_repeat=repeat if action_repeat is None else action_repeat,
        observations=observations,
        camera=_CAMERAS.get(name, _CAMERAS.get(domain, 0)) if camera is None else camera,
    )


def needs_rendering(name: str, observations: Sequence[str]) -> bool:
    """Whether `load` needs a rendering backend: for images, of all but the toy and one's own."""
    return not (name == _TOY or _is_own(name)) and "image" in observations


def load_suite(name: str):
    """Loads the dm_control environment of a task just as the suite makes it, to compare with.

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
        raise ValueError(
            f"load_environment.observations must be a tuple of {choices} or both, such as "
            f"('state',), got {observations!r}"
        )


def _hint(wrong: str, known: Iterable[str]) -> str:
    """Returns 'did you mean ...? ' with the nearest names, or '' if none is near."""
    lower = {right.lower(): right for right in known}  # humanoid_CMU_run has capitals
    spelling = str(wrong).lower().replace("-", "_").replace(" ", "_")
    near = [lower[right] for right in difflib.get_close_matches(spelling, lower, n=3, cutoff=0.5)]
    return f"did you mean {' or '.join(map(repr, near))}? " if near else ""


def _is_own(name: str) -> bool:
    return isinstance(name, str) and ":" in name


def _maker(name: str) -> Callable[..., TaskEnvironment]:
    """Returns the function that a name 'module:function' stands for, or raises ValueError."""
    module_name, _, function = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, TypeError, ValueError) as error:  # the latter two for '.x:' and ':x'
        raise ValueError(
            f"environment {name!r}: cannot import {module_name!r} ({error}); PYTHONPATH must hold "
            "the folder that it is in"
        ) from error
    make = getattr(module, function, None)
    if not callable(make):
        known = [right for right, value in vars(module).items() if callable(value)]
        raise ValueError(
            f"environment {name!r}: {_hint(function, known)}{module_name!r} has no function "
            f"{function!r}"
        )
    return make


def _make_own(
    name: str,
    seed: int | None,
    action_repeat: int | None,
    observations: Sequence[str],
    camera: int | str | None,
) -> TaskEnvironment:
    """Calls the function of a name 'module:function', and checks what it returns."""
    from planet_tf.environments.task_environment import TaskEnvironment

    make = _maker(name)
    settings: dict[str, object] = {"seed": seed, "observations": tuple(observations)}
    optional = {"action_repeat": action_repeat, "camera": camera}
    settings |= {key: value for key, value in optional.items() if value is not None}
    try:
        inspect.signature(make).bind(**settings)
    except TypeError as error:
        raise ValueError(
            f"environment {name!r}: {error}; it is called as {name.partition(':')[2]}"
            f"({', '.join(f'{key}={value!r}' for key, value in settings.items())})"
        ) from error
    try:
        env = make(**settings)
    except ValueError as error:
        raise ValueError(f"environment {name!r}: {error}") from error
    if not isinstance(env, TaskEnvironment):
        raise ValueError(
            f"environment {name!r}: the function must return a TaskEnvironment, got {env!r}; "
            "DmControlEnvironment makes one of a dm_control environment, TfAgentsEnvironment of "
            "TF-Agents'"
        )
    shown = tuple(env.observation_spec())
    returned = {"action_repeat": env.action_repeat, "camera": env.camera}
    if set(shown) != set(observations) or any(
        value not in (None, returned[key]) for key, value in optional.items()
    ):
        raise ValueError(
            f"environment {name!r}: asked for {settings}, the function returned an environment of "
            f"{returned} that shows {shown}: pass on what it is called with"
        )
    env.name = name
    return env


def _task(name: str) -> tuple[str, str, int]:
    """Returns a dm_control task's domain, task and action repeat."""
    return _PAPER.get(name) or (*_suite_tasks()[name], DEFAULT_ACTION_REPEAT)


def _suite_tasks() -> dict[str, tuple[str, str]]:
    """Returns dm_control's (domain, task) by name; both may hold underscores."""
    from planet_tf.environments import rendering

    tasks = rendering.import_suite().ALL_TASKS
    return {f"{domain}_{task}": (domain, task) for domain, task in tasks}
