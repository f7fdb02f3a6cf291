"""dm_control's tasks, seen as images or through their own observations."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import dm_env
import numpy as np

from planet_tf import errors
from planet_tf.environments import rendering
from planet_tf.environments.base import IMAGE_SIZE, UNBOUNDED, TaskEnvironment, to_bounds

UNLIMITED_ENV_STEPS = 1000  # per episode of a task without a time limit of its own


def load_task(
    domain: str,
    task: str,
    seed: int | None,
    action_repeat: int,
    observations: Sequence[str] = ("image",),
    camera: int | str = 0,
) -> DmControlEnvironment:
    """Makes the environment of one task of dm_control's suite.

    Args:
      domain: dm_control's domain, such as 'ball_in_cup'.
      task: the domain's task, such as 'catch'.
      seed: int in [0, 2**32) for all randomness in the task; None: random.
      action_repeat: env steps per agent step.
      observations: 'image', 'state' or both.
      camera: index or name of one of the model's cameras.

    Raises:
      ConfigError: if the action repeat does not fit into an episode, or there is no such camera.
    """
    suite = rendering.import_suite()
    env = suite.load(domain, task, task_kwargs={"random": np.random.RandomState(seed)})
    return DmControlEnvironment(env, f"{domain}_{task}", action_repeat, observations, camera)


def make_rendering_cheap(physics: Any) -> None:
    """Shrinks shadow map and frame buffer, and draws rounded shapes with fewer parts.

    Has an effect only before a dm_control physics' first frame. Software rendering becomes at least
    twice as fast; on average a colour differs by less than 0.1 of 255.
    """
    physics.model.vis.quality.shadowsize = 512
    physics.model.vis.quality.numstacks = 10  # 16 by default
    physics.model.vis.global_.offwidth = IMAGE_SIZE
    physics.model.vis.global_.offheight = IMAGE_SIZE


class DmControlEnvironment(TaskEnvironment):
    """A dm_control environment; see TaskEnvironment for observations and actions.

    The state is the concatenation of the task's own observations. Actions are mapped affinely from
    [-1, 1] to the task's own bounds; an actuator without bounds (the lqr tasks) takes them as they
    are.
    """

    def __init__(
        self,
        env: dm_env.Environment,
        name: str,
        action_repeat: int,
        observations: Sequence[str] = ("image",),
        camera: int | str = 0,
        terminates: bool = False,
    ):
        """Wraps a dm_control environment, which then belongs to this object.

        Args:
          env: a dm_control.rl.control.Environment that has not rendered a frame; its task is a
            dm_control.suite.base.Task, whose `random` is seeded.
          name: the name attribute.
          action_repeat: env steps per agent step.
          observations: 'image', 'state' or both.
          camera: index or name of one of the model's cameras.
          terminates: whether the task may end an episode itself, with discount 0.

        Raises:
          ConfigError: if the action repeat does not fit into an episode, the task has no `random`,
            or images are to be observed and there is no such camera.
        """
        if not hasattr(getattr(env, "task", None), "random"):
            raise errors.ConfigError(
                f"{name}: its task has no `random` to seed", "derive it from dm_control's base.Task"
            )
        spec = env.action_spec()
        limit = getattr(env, "_step_limit", math.inf)  # dm_control does not publish it
        max_env_steps = UNLIMITED_ENV_STEPS if math.isinf(limit) else round(limit)
        size = 0
        if "state" in observations:
            size = sum(math.prod(part.shape) for part in _observation_spec(env).values())
        super().__init__(
            name,
            spec.shape[0],
            action_repeat,
            max_env_steps,
            observations,
            size,
            camera,
            terminates=terminates,
        )
        if "image" in observations:
            _check_camera(name, env.physics.model, camera)
        low = np.broadcast_to(spec.minimum, spec.shape).astype(np.float64)
        high = np.broadcast_to(spec.maximum, spec.shape).astype(np.float64)
        bounded = (low > -UNBOUNDED) & (high < UNBOUNDED)
        self._low, self._high = np.where(bounded, low, -1.0), np.where(bounded, high, 1.0)
        self._env = env
        self._observation: Mapping[str, Any] = {}  # the task's
        self._renderer: Any = None  # a mujoco.Camera, made with the first frame
        self._thread = 0  # that the renderer belongs to
        self._closed = False

    def seed(self, seed: int) -> None:
        """Seeds all randomness in the task from the next reset on."""
        self._env.task.random.seed(seed)

    def close(self) -> None:
        """Frees the renderer and the simulator; the environment cannot be used afterwards."""
        if self._closed:
            return
        if self._renderer is not None:
            self._check_thread()
            self._renderer.scene.free()
            self._renderer = None
        self._closed = True
        self._env.physics.free()
        self._env.close()

    def _start(self) -> None:
        if self._closed:
            raise ValueError(f"{self.name}: the environment is closed; load a new one")
        self._observation = self._env.reset().observation

    def _advance(self, action: np.ndarray) -> tuple[float, float | None]:
        if self._closed:
            raise ValueError(f"{self.name}: the environment is closed; load a new one")
        step = self._env.step(to_bounds(action, self._low, self._high))
        self._observation = step.observation
        return step.reward, step.discount if step.last() else None

    def _state(self) -> np.ndarray:
        parts = [np.ravel(part) for part in self._observation.values()]
        return np.concatenate(parts).astype(np.float32)

    def _draw(self) -> np.ndarray:
        if self._renderer is None:
            backend = rendering.choose()
            from dm_control import mujoco

            physics = self._env.physics
            _check_camera(self.name, physics.model, self.camera)
            if backend.software:
                make_rendering_cheap(physics)
            self._renderer = mujoco.Camera(physics, IMAGE_SIZE, IMAGE_SIZE, camera_id=self.camera)
            self._thread = threading.get_ident()
        self._check_thread()
        # The camera reuses its buffer (and shows it upside down): copy.
        return np.array(self._renderer.render(), order="C")

    def _check_thread(self) -> None:
        """Raises ConfigError in another thread than the first frame's: OpenGL would fail there."""
        if threading.get_ident() != self._thread:
            raise errors.ConfigError(
                f"{self.name}: its first frame was rendered in another thread, and OpenGL ties the "
                "renderer to that thread",
                "load, step and close an environment in one thread",
            )


def _observation_spec(env: Any) -> Mapping[str, Any]:
    """Returns the spec of the task's observations, which may need a first reset."""
    random = env.task.random.get_state()
    env.reset()
    env.task.random.set_state(random)  # the first episode is the one its seed stands for
    return env.observation_spec()


def _check_camera(name: str, model: Any, camera: int | str | None) -> None:
    """Raises ConfigError if the model has no such camera; the message lists those it has."""
    names = [model.id2name(i, "camera") or str(i) for i in range(model.ncam)]
    if not names:
        raise errors.ConfigError(
            f"{name}: its model has no camera to draw the image with",
            "add a <camera> to its worldbody, or observe ('state',) only",
            "load_environment.camera",
        )
    indices = [] if isinstance(camera, bool) else range(len(names))
    if camera not in names and camera not in indices:
        raise errors.ConfigError(
            f"{name}: load_environment.camera must be an index from 0 to {len(names) - 1} or one "
            f"of {', '.join(map(repr, names))}, got {camera!r}",
            setting="load_environment.camera",
        )
