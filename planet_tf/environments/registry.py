"""Names of environments, and `load`, which makes one from its name.

Importing this module, and checking the paper's names, starts neither TensorFlow nor dm_control: a
misspelt name is reported early.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from planet_tf import checks, errors
from planet_tf.environments import custom

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
    if name in names():
        return
    if is_gymnasium(name):
        from planet_tf.environments import gymnasium_env

        gymnasium_env.check_id(name)
        return
    if custom.is_custom(name):
        custom.function(name)
        return
    known = all_names()
    if name not in known:
        raise errors.ConfigError(
            f"unknown environment {name!r}",
            f"{checks.did_you_mean(name, known)} "
            f"names: {', '.join(names())}, any domain_task of dm_control "
            "(planet_tf.environments.all_names() lists them), 'gym:ID' for one of Gymnasium, or "
            "'module:function' for your own",
            "train.task",
        )


def is_gymnasium(name: str) -> bool:
    """Whether a name has the form 'gym:ID'."""
    return isinstance(name, str) and name.startswith(custom.GYMNASIUM)


@checks.configurable("load_environment", denylist=["name", "seed", "processes"])
def load(
    name: str,
    seed: int | None = None,
    action_repeat: checks.Count | None = None,
    observations: Sequence[str] = ("image",),
    camera: int | str | None = None,
    kwargs: dict[str, Any] | None = None,
    processes: int | None = None,
) -> "TaskEnvironment | ParallelEnvironment":
    """Makes a TF-Agents PyEnvironment.

    Observations are a dict of `image`, uint8 [64, 64, 3], or `state`, float32 [N], or both; actions
    float32 [A] in [-1, 1], rewards float32, summed over the action repeat. See TaskEnvironment for
    the rest.

    A name 'gym:ID', such as 'gym:Pendulum-v1', is one of Gymnasium's registered environments.

    A name 'module:function', such as 'robots.arm:make', is a custom task: the module is imported
    and its function called as `function(seed=, observations=)`, with the `kwargs`, and with
    `action_repeat=` and `camera=` if it takes them, unless they are None; it has to return a
    TaskEnvironment or a gymnasium.Env. Processes import the module again; what gin binds to the
    function does not reach them, but the `kwargs` do.

    Args:
      name: one of `names()`, any `domain_task` of dm_control's suite, 'gym:ID', or
        'module:function'.
      seed: int in [0, 2**32) that decides all randomness in the environment; None: random.
      action_repeat: env steps per agent step. None: the paper's; 1 for dot_goal and whatever is
        Gymnasium's; another custom function's own default; 4 for other tasks.
      observations: 'image', 'state' or both. The state is what the task itself observes, such as
        positions and velocities. Without 'image' nothing is rendered unless `render` is called, and
        no rendering backend is needed.
      camera: index or name of the camera that draws the image. None: the function's own default; a
        dm_control task's first one, or another that shows its body (quadruped, lqr, dog_fetch).
      kwargs: further arguments of `gymnasium.make`, such as {'max_episode_steps': 500}, or of a
        custom task's function; None: none.
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
    if kwargs is not None and not isinstance(kwargs, dict):
        raise errors.ConfigError(
            f"load_environment.kwargs must be a dict of arguments, got {kwargs!r}",
            setting="load_environment.kwargs",
        )
    if needs_rendering(name, observations):
        from planet_tf.environments import rendering

        rendering.choose()  # fail now, not at the first frame; once for all processes
    if processes is not None:
        from planet_tf.environments import parallel

        return parallel.ParallelEnvironment(
            name, processes, seed, action_repeat, observations, camera, kwargs
        )
    if custom.is_custom(name):
        return custom.load(name, seed, action_repeat, observations, camera, kwargs)
    if is_gymnasium(name):
        return _registered(name, seed, action_repeat, observations, camera, kwargs)
    if kwargs:
        raise errors.ConfigError(
            f"{name} takes no load_environment.kwargs", setting="load_environment.kwargs"
        )
    if name == _TOY:
        return _toy(seed, action_repeat, observations, camera)
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
    """Whether `load` needs a rendering backend: for images that MuJoCo draws."""
    if "image" not in observations or name == _TOY or custom.is_custom(name):
        return False
    if is_gymnasium(name):
        from planet_tf.environments import gymnasium_env

        return gymnasium_env.uses_mujoco(name)
    return True


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


def _registered(name, seed, action_repeat, observations, camera, kwargs) -> "TaskEnvironment":
    from planet_tf.environments import gymnasium_env

    _refuse_camera(name, camera)
    repeat = 1 if action_repeat is None else action_repeat
    return gymnasium_env.load_registered(name, seed, repeat, observations, kwargs or {})


def _toy(seed, action_repeat, observations, camera) -> "TaskEnvironment":
    from planet_tf.environments.dot_goal import DotGoal

    _refuse_camera(_TOY, camera)
    return DotGoal(seed, 1 if action_repeat is None else action_repeat, observations=observations)


def _refuse_camera(name: str, camera) -> None:
    if camera is not None:
        raise errors.ConfigError(
            f"{name} has one view: load_environment.camera must be None",
            setting="load_environment.camera",
        )


def _task(name: str) -> tuple[str, str, int]:
    """Returns a dm_control task's domain, task and action repeat."""
    return _PAPER.get(name) or (*_suite_tasks()[name], DEFAULT_ACTION_REPEAT)


def _suite_tasks() -> dict[str, tuple[str, str]]:
    """Returns dm_control's (domain, task) by name; both may hold underscores."""
    from planet_tf.environments import rendering

    tasks = rendering.import_suite().ALL_TASKS
    return {f"{domain}_{task}": (domain, task) for domain, task in tasks}
