"""What every environment here has in common: specs, action repeat, time limit, observations."""

from __future__ import annotations

import abc
from collections.abc import Sequence

import numpy as np
from tf_agents.environments import py_environment
from tf_agents.specs import array_spec
from tf_agents.trajectories import time_step as ts

IMAGE_SIZE = 64
_TOLERANCE = 1e-5  # an action may leave [-1, 1] by float error


def to_bounds(action: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Maps an action affinely from [-1, 1] to [low, high]; all float64 [A]."""
    return np.clip((high + low) / 2 + (high - low) / 2 * action, low, high)


class TaskEnvironment(py_environment.PyEnvironment):
    """A task that shows its picture or its state: one decision for `action_repeat` env steps.

    Observations are a dict of what was asked for: `image`, uint8 [64, 64, 3], drawn once an agent
    step (never if it was not asked for), and `state`, float32 [N]; every array is fresh and belongs
    to the caller. Actions are float32 [A] in [-1, 1]. The reward is float32, the sum over the
    action repeat. The discount is 0 only where the task itself terminates; an episode that reaches
    its time limit ends with discount 1. A step after the last one starts an episode.

    Attributes:
      name: what `load` calls it.
      action_repeat: env steps an agent step.
      max_steps: agent steps an episode, unless the task terminates before.
      camera: index or name of the camera that draws the picture; None: the task has one view.
    """

    def __init__(
        self,
        name: str,
        action_size: int,
        action_repeat: int,
        max_env_steps: int,
        observations: Sequence[str] = ("image",),
        state_size: int = 0,
        camera: int | str | None = None,
    ):
        """Initializes what the subclasses share.

        Args:
          name: what `load` calls it.
          action_size: A.
          action_repeat: env steps an agent step.
          max_env_steps: the time limit in env steps; what does not fill an agent step is left out.
          observations: 'image', 'state' or both.
          state_size: N; not needed without 'state'.
          camera: index or name of the camera that draws the picture; None: the task has one view.

        Raises:
          ValueError: if action_repeat is not a whole number from 1 to max_env_steps.
        """
        super().__init__(handle_auto_reset=True)
        if action_repeat != int(action_repeat) or not 1 <= action_repeat <= max_env_steps:
            raise ValueError(
                f"{name}: action_repeat must be a whole number from 1 to {max_env_steps} (the "
                f"env steps of an episode), got {action_repeat!r}"
            )
        self.name, self.camera = name, camera
        self.action_repeat = int(action_repeat)
        self.max_steps = max_env_steps // self.action_repeat
        self._steps = 0
        self._image: np.ndarray | None = None
        self._action_spec = array_spec.BoundedArraySpec(
            (action_size,), np.float32, minimum=-1.0, maximum=1.0, name="action"
        )
        specs = {
            "image": array_spec.BoundedArraySpec(
                (IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8, minimum=0, maximum=255, name="image"
            ),
            "state": array_spec.ArraySpec((state_size,), np.float32, name="state"),
        }
        self._observation_spec = {key: specs[key] for key in specs if key in observations}

    @abc.abstractmethod
    def _start(self) -> None:
        """Starts an episode."""

    @abc.abstractmethod
    def _advance(self, action: np.ndarray) -> tuple[float, float | None]:
        """Takes one env step with a float64 [A] in [-1, 1].

        Returns:
          reward, and the discount with which the episode ends, or None if it goes on.
        """

    @abc.abstractmethod
    def _draw(self) -> np.ndarray:
        """Returns the picture of the present state: uint8 [64, 64, 3], fresh and contiguous."""

    @abc.abstractmethod
    def _state(self) -> np.ndarray:
        """Returns the present state as the task observes it: float32 [N], fresh."""

    @abc.abstractmethod
    def seed(self, seed: int) -> None:
        """Seeds all that is random from the next reset on; seed: int in [0, 2**32)."""

    def action_spec(self) -> array_spec.BoundedArraySpec:
        """Returns the spec of an action: float32 [A] in [-1, 1]."""
        return self._action_spec

    def observation_spec(self) -> dict[str, array_spec.ArraySpec]:
        """Returns the specs of what was asked for: image, uint8 [64, 64, 3]; state, float32 [N]."""
        return self._observation_spec

    def render(self, mode: str = "rgb_array") -> np.ndarray:
        """Returns a copy of the present picture, uint8 [64, 64, 3]; draws what is not observed.

        Raises:
          NotImplementedError: for a mode other than 'rgb_array', or a task that has no picture.
          ValueError: before the first reset.
          RenderingError: if 'image' is not observed and no rendering backend works.
        """
        if mode != "rgb_array":
            raise NotImplementedError(f"{self.name}: mode is 'rgb_array', got {mode!r}")
        if self._current_time_step is None:
            raise ValueError(f"{self.name}: call reset() before render()")
        if self._image is None:
            self._image = self._draw()
        return self._image.copy()

    def _reset(self) -> ts.TimeStep:
        self._start()
        self._steps = 0
        return ts.restart(self._observe())

    def _step(self, action: np.ndarray) -> ts.TimeStep:
        action = self._checked(action)
        total, end = 0.0, None
        for _ in range(self.action_repeat):
            reward, end = self._advance(action)
            total += self._scalar(reward)
            if end is not None:
                break
        if not np.isfinite(total):
            raise FloatingPointError("reward is NaN or infinite")
        self._steps += 1
        if end is None and self._steps >= self.max_steps:
            end = 1.0
        observation = self._observe()
        if end is None:
            return ts.transition(observation, np.float32(total), np.float32(1.0))
        return ts.truncation(observation, np.float32(total), np.float32(end))

    def _scalar(self, reward) -> float:
        """Returns a reward as a float; an array of one element counts as its element."""
        try:
            (value,) = np.asarray(reward, np.float64).ravel()
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{self.name}: the reward must be one number, got {reward!r}"
            ) from error
        return float(value)

    def _observe(self) -> dict[str, np.ndarray]:
        observation: dict[str, np.ndarray] = {}
        self._image = None
        if "image" in self._observation_spec:
            self._image = self._draw()
            observation["image"] = self._image.copy()  # the caller's; ours serves render()
        if "state" in self._observation_spec:
            observation["state"] = self._state()
        for key, value in observation.items():
            spec = self._observation_spec[key]
            if not spec.check_array(value):
                raise ValueError(
                    f"{self.name}: the {key} must be {np.dtype(spec.dtype)} {list(spec.shape)}, "
                    f"got {np.asarray(value).dtype} {list(np.shape(value))}"
                )
        return observation

    def _checked(self, action: np.ndarray) -> np.ndarray:
        """Returns the action as float64 [A] in [-1, 1]; raises ValueError if it is not that."""
        action = np.asarray(action, np.float64)
        if action.shape != self._action_spec.shape:
            raise ValueError(
                f"{self.name}: action has shape {action.shape}, expected {self._action_spec.shape}"
            )
        if not np.all(np.abs(action) <= 1.0 + _TOLERANCE):  # False for NaN as well
            raise ValueError(
                f"{self.name}: action {action} is not a number or is outside [-1, 1]; clip it to "
                "the action spec's bounds"
            )
        return np.clip(action, -1.0, 1.0)
