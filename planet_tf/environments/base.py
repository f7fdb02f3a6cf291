"""What all environments have in common: specs, action repeat, time limit, observations."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
from tf_agents.environments import py_environment
from tf_agents.specs import array_spec
from tf_agents.trajectories import time_step as ts

from planet_tf import action_specs, errors

IMAGE_SIZE = 64
UNBOUNDED = 1e10
"""An action that may be larger has no bounds: TF-Agents and Gymnasium write float32's largest."""

_TOLERANCE = 1e-5  # an action may leave [-1, 1] by float error


def to_bounds(action: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Maps an action affinely from [-1, 1] to [low, high]; all float64 [A]."""
    return np.clip((high + low) / 2 + (high - low) / 2 * action, low, high)


class TaskEnvironment(py_environment.PyEnvironment):
    """A task seen as images or states, with one decision per `action_repeat` env steps.

    Observations are a dict of what was asked for: `image`, uint8 [64, 64, 3], drawn once per agent
    step (never if it was not asked for), and `state`, float32 [N]; every array is a fresh copy.
    Actions are float32 [A] in [-1, 1], or one-hot vectors if the task has A choices. The reward is
    float32, summed over the action repeat. The discount is 0 only where the task itself terminates;
    an episode that reaches its time limit ends with discount 1. A step after the last one starts a
    new episode.

    What the task's own code raises in `reset` or `step` becomes an EnvironmentFailure, and NaN or
    infinity in a reward or state a NotFiniteError. An observation or reward of the wrong type is a
    ConfigError in the first step, and an EnvironmentFailure later: the task has worked before.

    Attributes:
      name: the name that `load` knows it by.
      action_repeat: env steps per agent step.
      max_steps: agent steps per episode, unless the task terminates earlier.
      camera: index or name of the camera that draws the image; None: the task has one view.
      terminates: whether the task may end an episode itself, with discount 0.
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
        discrete: bool = False,
        terminates: bool = False,
    ):
        """Initializes the common part.

        Args:
          name: the name that `load` knows it by.
          action_size: A.
          action_repeat: env steps per agent step.
          max_env_steps: the time limit in env steps, rounded down to whole agent steps.
          observations: 'image', 'state' or both.
          state_size: N; not needed without 'state'.
          camera: index or name of the camera that draws the image; None: the task has one view.
          discrete: whether actions are one-hot vectors: a choice of one of A.
          terminates: whether the task may end an episode itself, with discount 0: the agent then
            learns where.

        Raises:
          ConfigError: if action_repeat is not a whole number from 1 to max_env_steps.
        """
        super().__init__(handle_auto_reset=True)
        if action_repeat != int(action_repeat) or not 1 <= action_repeat <= max_env_steps:
            raise errors.ConfigError(
                f"{name}: action_repeat must be a whole number from 1 to {max_env_steps} (the "
                f"env steps of an episode), got {action_repeat!r}",
                setting="load_environment.action_repeat",
            )
        self.name, self.camera, self.terminates = name, camera, terminates
        self.action_repeat = int(action_repeat)
        self.max_steps = max_env_steps // self.action_repeat
        self._steps = 0
        self._has_worked = False  # whether a step has succeeded
        self._image: np.ndarray | None = None
        self._action_spec = action_specs.vector(action_size, discrete)
        specs = {
            "image": array_spec.BoundedArraySpec(
                (IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8, minimum=0, maximum=255, name="image"
            ),
            "state": array_spec.ArraySpec((state_size,), np.float32, name="state"),
        }
        self._observation_spec = {key: specs[key] for key in specs if key in observations}

    # A subclass writes these five.

    @abc.abstractmethod
    def _start(self) -> None:
        """Starts an episode."""

    @abc.abstractmethod
    def _advance(self, action: np.ndarray) -> tuple[float, float | None]:
        """Takes one env step with a float64 [A] in [-1, 1], or one-hot.

        Returns:
          reward, and the discount if the episode ends with this step, else None.
        """

    @abc.abstractmethod
    def _draw(self) -> np.ndarray:
        """Returns the image of the current state: uint8 [64, 64, 3], fresh and contiguous."""

    @abc.abstractmethod
    def _state(self) -> np.ndarray:
        """Returns the current state as the task observes it: float32 [N], fresh."""

    @abc.abstractmethod
    def seed(self, seed: int) -> None:
        """Seeds all randomness from the next reset on; seed: int in [0, 2**32)."""

    # The rest is common.

    def action_spec(self) -> array_spec.BoundedArraySpec:
        """Returns the spec of an action: float32 [A] in [-1, 1], or one-hot; see `actions`."""
        return self._action_spec

    def observation_spec(self) -> dict[str, array_spec.ArraySpec]:
        """Returns the specs of what was asked for: image, uint8 [64, 64, 3]; state, float32 [N]."""
        return self._observation_spec

    def render(self, mode: str = "rgb_array") -> np.ndarray:
        """Returns a copy of the current image, uint8 [64, 64, 3]; draws it if it is not observed.

        Raises:
          NotImplementedError: for a mode other than 'rgb_array', or a task that has no image.
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
        self._steps = 0
        with self._failures():
            self._start()
        return ts.restart(self._observe())

    def _step(self, action: np.ndarray) -> ts.TimeStep:
        action = self._checked(action)
        with self._failures():
            total, end = self._repeat(action)
        self._steps += 1
        if end is None and self._steps >= self.max_steps:
            end = 1.0
        with np.errstate(over="ignore"):  # checked next
            reward, discount = np.float32(total), np.float32(1.0 if end is None else end)
        self._check_finite("reward", reward)
        self._check_finite("discount", discount)
        observation = self._observe()
        self._has_worked = True
        if end is None:
            return ts.transition(observation, reward, discount)
        return ts.truncation(observation, reward, discount)

    def _repeat(self, action: np.ndarray) -> tuple[float, float | None]:
        total, end = 0.0, None
        for _ in range(self.action_repeat):
            reward, end = self._advance(action)
            total += self._scalar(reward)
            if end is not None:
                break
        return total, end

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """Turns whatever a simulator, a renderer or a robot may raise into EnvironmentFailure."""
        try:
            yield
        except errors.PlanetError:
            raise
        except Exception as error:
            raise errors.EnvironmentFailure(
                f"{self.name}: {type(error).__name__}: {error}{errors.place(error)}"
            ) from error

    def _scalar(self, reward) -> float:
        """Returns a reward as a float; an array of one element counts as its element."""
        try:
            (value,) = np.asarray(reward, np.float64).ravel()
        except (TypeError, ValueError) as error:
            raise self._misfit(f"the reward must be one number, got {reward!r}") from error
        return float(value)

    def _observe(self) -> dict[str, np.ndarray]:
        observation: dict[str, np.ndarray] = {}
        self._image = None
        with self._failures():
            if "image" in self._observation_spec:
                self._image = self._draw()
                observation["image"] = np.array(self._image)  # the caller's; ours serves render()
            if "state" in self._observation_spec:
                observation["state"] = self._state()
        for key, value in observation.items():
            spec = self._observation_spec[key]
            if not spec.check_array(value):
                raise self._misfit(
                    f"the {key} must be {np.dtype(spec.dtype)} {list(spec.shape)}, "
                    f"got {np.asarray(value).dtype} {list(np.shape(value))}"
                )
            self._check_finite(key, value)
        return observation

    def _misfit(self, what: str) -> errors.PlanetError:
        kind = errors.EnvironmentFailure if self._has_worked else errors.ConfigError
        return kind(f"{self.name}: {what}")

    def _check_finite(self, what: str, value) -> None:
        if not np.all(np.isfinite(value)):
            raise errors.NotFiniteError(
                f"{self.name}, agent step {self._steps}: {what} is NaN or infinite"
            )

    def _checked(self, action: np.ndarray) -> np.ndarray:
        """Returns the action as float64 [A]; raises ValueError if the spec does not allow it."""
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
        if not action_specs.is_discrete(self._action_spec):
            return np.clip(action, -1.0, 1.0)
        if not (np.sum(action) == 1.0 and np.all((action == 0.0) | (action == 1.0))):
            raise ValueError(f"{self.name}: action {action} is not a one-hot vector")
        return action
