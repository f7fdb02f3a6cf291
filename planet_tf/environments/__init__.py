"""Environments that show pixels and take actions in [-1, 1]: `load(name)`.

Importing this package, and checking the paper's names, starts neither TensorFlow nor dm_control: a
misspelt name is answered early, and rendering is chosen before dm_control is imported.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import gin

if TYPE_CHECKING:
    from planet_tf.environments.pixel_environment import PixelEnvironment
    from planet_tf.environments.processes import EnvironmentProcesses

DEFAULT_ACTION_REPEAT = 4  # for the tasks that the paper does not name

# The paper's tasks: dm_control domain, task, action repeat. All are seen through camera 0.
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


def names() -> tuple[str, ...]:
    """Returns the paper's tasks and the built-in toy, without importing anything heavy."""
    return (*_PAPER, _TOY)


def all_names() -> tuple[str, ...]:
    """Returns every name that `load` takes: `names()` and each `domain_task` of dm_control's suite.

    Raises:
      RenderingError: if no rendering backend works (it is chosen before dm_control is imported).
    """
    return tuple(dict.fromkeys((*names(), *_suite_tasks())))


def check_name(name: str) -> None:
    """Checks an environment's name; the paper's names and the toy's need no heavy import.

    Raises:
      ValueError: if no environment has this name; the message holds the nearest right names.
      RenderingError: if the name is not of `names()` and no rendering backend works.
    """
    if name in names():
        return
    known = all_names()
    if name in known:
        return
    lower = {right.lower(): right for right in known}  # humanoid_CMU_run has capitals
    spelling = str(name).lower().replace("-", "_").replace(" ", "_")
    near = [lower[right] for right in difflib.get_close_matches(spelling, lower, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise ValueError(
        f"unknown environment {name!r}: {hint}Names: {', '.join(names())}, or any domain_task of "
        "dm_control (planet_tf.environments.all_names() lists them)."
    )


@gin.configurable("load_environment", module="planet_tf", denylist=["name", "seed", "count"])
def load(
    name: str, seed: int | None = None, action_repeat: int | None = None, count: int = 1
) -> PixelEnvironment | EnvironmentProcesses:
    """Makes a TF-Agents PyEnvironment that shows pixels.

    Observations are {'image': uint8 [64, 64, 3]}, actions float32 [A] in [-1, 1], rewards float32,
    summed over the action repeat. See PixelEnvironment for the rest.

    Args:
      name: one of `names()`, or any `domain_task` of dm_control's suite.
      seed: int in [0, 2**32) that decides everything random in the environment; None: random.
      action_repeat: env steps an agent step. None: the paper's; 1 for dot_goal; 4 for other tasks.
      count: with more than 1, so many environments at once in processes of their own, as one
        batched environment; see EnvironmentProcesses.

    Raises:
      ValueError: if the name is unknown, or the action repeat does not fit into an episode.
      RenderingError: if no rendering backend works (dot_goal needs none).
      WorkerError: if a process cannot make its environment.
    """
    check_name(name)
    if count != 1:
        from planet_tf.environments import processes, rendering

        if name != _TOY:
            rendering.choose()  # once, for all processes
        return processes.EnvironmentProcesses(name, count, action_repeat, seed)
    if name == _TOY:
        from planet_tf.environments.dot_goal import DotGoal

        return DotGoal(seed=seed, action_repeat=1 if action_repeat is None else action_repeat)
    domain, task, repeat = _task(name)
    from planet_tf.environments import dm_control_pixels

    return dm_control_pixels.load_task(
        domain, task, seed=seed, action_repeat=repeat if action_repeat is None else action_repeat
    )


def load_suite(name: str):
    """Loads the dm_control environment of a task just as the suite makes it, to compare with."""
    domain, task, _ = _task(name)
    from dm_control import suite

    return suite.load(domain, task)


def _task(name: str) -> tuple[str, str, int]:
    """Returns a dm_control task's domain, task and action repeat."""
    return _PAPER.get(name) or (*_suite_tasks()[name], DEFAULT_ACTION_REPEAT)


def _suite_tasks() -> dict[str, tuple[str, str]]:
    """Returns dm_control's (domain, task) by name; both may hold underscores."""
    from planet_tf.environments import rendering

    rendering.choose()  # before the import
    from dm_control import suite

    return {f"{domain}_{task}": (domain, task) for domain, task in suite.ALL_TASKS}
