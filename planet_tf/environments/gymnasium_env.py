"""Environments of Gymnasium, seen as images or as states."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from planet_tf import errors
from planet_tf.environments import gymnasium_spaces, rendering
from planet_tf.environments.base import IMAGE_SIZE, TaskEnvironment
from planet_tf.environments.custom import GYMNASIUM


def check_id(name: str) -> None:
    """Checks a name 'gym:ID'.

    Raises:
      ConfigError: if Gymnasium is not installed, or has no such environment.
    """
    gymnasium, identifier = _gymnasium(), name.removeprefix(GYMNASIUM)
    try:
        if ":" in identifier:  # Gymnasium's own form: a module that registers it, and the ID
            importlib.import_module(identifier.partition(":")[0])
        gymnasium.spec(identifier.rpartition(":")[2])
    except (ImportError, gymnasium.error.Error) as error:
        raise errors.ConfigError(
            f"unknown environment {name!r}: {error}",
            "python -c 'import gymnasium; gymnasium.pprint_registry()' lists them",
            "train.task",
        ) from error


def uses_mujoco(name: str) -> bool:
    """Whether an environment 'gym:ID' is one of Gymnasium's that MuJoCo simulates and draws."""
    spec = _gymnasium().spec(name.removeprefix(GYMNASIUM).rpartition(":")[2])
    return "mujoco" in str(spec.entry_point)


def load_registered(
    name: str,
    seed: int | None,
    action_repeat: int,
    observations: Sequence[str],
    kwargs: Mapping[str, Any],
) -> GymnasiumEnvironment:
    """Makes a registered environment from its name 'gym:ID'.

    Args:
      name: the name.
      seed: of the first reset; None: random.
      action_repeat: env steps per agent step.
      observations: 'image', 'state' or both.
      kwargs: further arguments of `gymnasium.make`, such as max_episode_steps or the environment's
        own.

    Raises:
      ConfigError: if it cannot be made, or has spaces that no agent of planet_tf can use.
    """
    gymnasium, identifier = _gymnasium(), name.removeprefix(GYMNASIUM)
    settings = {"disable_env_checker": True, **kwargs}
    try:
        env = gymnasium.make(identifier, **settings)
        if "rgb_array" in env.metadata.get("render_modes", ()) and "render_mode" not in kwargs:
            env.close()
            env = gymnasium.make(identifier, render_mode="rgb_array", **settings)
    except Exception as error:  # whatever its constructor raises for wrong or missing arguments
        raise errors.ConfigError(
            f"{name} cannot be made: {type(error).__name__}: {error}",
            "its arguments are in load_environment.kwargs" if kwargs else "",
            "load_environment.kwargs",
        ) from error
    return GymnasiumEnvironment(env, name, action_repeat, observations, seed)


def is_environment(env: object) -> bool:
    """Whether an object is an environment of Gymnasium, which need not be installed."""
    return any(kind.__module__.startswith("gymnasium.") for kind in type(env).__mro__)


def _gymnasium():
    try:
        return importlib.import_module("gymnasium")
    except ImportError as error:
        raise errors.ConfigError(
            "gymnasium is not installed",
            "pip install -e '.[gymnasium]' in the checkout installs it",
        ) from error


class GymnasiumEnvironment(TaskEnvironment):
    """A `gymnasium.Env`; see TaskEnvironment for observations and actions.

    The image is its observation, if that is a picture, or the picture in its Dict, else what it
    renders; it is averaged to 64x64. The state is its observation, or the rest of its Dict,
    flattened by Gymnasium. Actions are mapped affinely from [-1, 1]
    to the bounds of a Box, or are the one-hot vectors of a Discrete space. Where it terminates, the
    discount is 0; where it is truncated, 1.
    """

    def __init__(
        self,
        env: Any,
        name: str,
        action_repeat: int = 1,
        observations: Sequence[str] = ("image",),
        seed: int | None = None,
    ):
        """Wraps an environment, which then belongs to this object.

        Args:
          env: a gymnasium.Env with a time limit.
          name: the name attribute.
          action_repeat: env steps per agent step.
          observations: 'image', 'state' or both.
          seed: of the first reset; None: random.

        Raises:
          ConfigError: if it has no time limit, if its spaces cannot be used, or if it does not show
            what is to be observed.
        """
        spaces = _gymnasium().spaces
        self._env, self._seed, self._seen = env, seed, None
        self._picture, self._state_space = gymnasium_spaces.parts(
            name, spaces, env.observation_space
        )
        self._take, count, discrete = gymnasium_spaces.actions(name, spaces, env.action_space)
        for key in observations:
            self._check_shows(name, key, spaces)
        size = spaces.flatdim(self._state_space) if "state" in observations else 0
        limit = _time_limit(name, env)
        super().__init__(
            name,
            count,
            action_repeat,
            limit,
            observations,
            size,
            discrete=discrete,
            terminates=True,
        )

    def seed(self, seed: int) -> None:
        """Seeds the environment at the next reset."""
        self._seed = seed

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()

    def _check_shows(self, name: str, key: str, spaces) -> None:
        shown, hint = f"{self._env.observation_space}", "ask for ('state',)"
        if key == "image":
            fits = self._picture or self._env.render_mode == "rgb_array"
            shown += f" and its render mode is {self._env.render_mode!r}, not 'rgb_array'"
        else:
            state = self._state_space
            fits = state is not None and state.is_np_flattenable
            hint = "ask for ('image',)" if self._picture else ""
            if fits and gymnasium_spaces.holds_pixels(spaces, state):
                fits = False
                hint = "a picture must be uint8 [H, W], [H, W, 1] or [H, W, 3], and not nested"
        if not fits:
            raise errors.ConfigError(
                f"{name}: load_environment.observations asks for {key!r}, but its observation is "
                f"{shown}",
                hint,
                "load_environment.observations",
            )

    def _start(self) -> None:
        seed, self._seed = self._seed, None  # later episodes continue its random stream
        self._seen, _ = self._env.reset(seed=seed)

    def _advance(self, action: np.ndarray) -> tuple[float, float | None]:
        self._seen, reward, terminated, truncated, _ = self._env.step(self._take(action))
        return reward, 0.0 if terminated else 1.0 if truncated else None

    def _draw(self) -> np.ndarray:
        if self._picture:
            return to_image(self._picture(self._seen))
        if _is_mujoco(self._env):
            rendering.choose()  # for videos of runs on states, too
        frame = self._env.render()
        if frame is None:
            raise NotImplementedError(f"{self.name} renders nothing: it has no 'rgb_array' mode")
        return to_image(frame)

    def _state(self) -> np.ndarray:
        flat = _gymnasium().spaces.flatten(self._state_space, self._seen)
        return np.array(flat, np.float32)


def to_image(frame) -> np.ndarray:
    """Averages a picture to uint8 [64, 64, 3].

    Args:
      frame: uint8 [H, W], [H, W, 1] (grey) or [H, W, 3]; anything else is returned as an array.
    """
    from PIL import Image

    frame = np.asarray(frame)
    if frame.dtype != np.uint8 or frame.ndim not in (2, 3) or 0 in frame.shape:
        return frame
    if frame.ndim == 3 and frame.shape[-1] != 3:
        if frame.shape[-1] != 1:
            return frame
        frame = frame[..., 0]
    size = (IMAGE_SIZE, IMAGE_SIZE)
    return np.array(Image.fromarray(frame).convert("RGB").resize(size, Image.Resampling.BOX))


def _is_mujoco(env) -> bool:
    kinds = type(env.unwrapped).__mro__
    return any(kind.__module__.startswith("gymnasium.envs.mujoco") for kind in kinds)


def _time_limit(name: str, env) -> int:
    """Returns the env steps after which an environment is truncated, or raises ConfigError."""
    limit = env.spec.max_episode_steps if env.spec else None
    if limit is None and env.has_wrapper_attr("_max_episode_steps"):
        limit = env.get_wrapper_attr("_max_episode_steps")  # of gymnasium.wrappers.TimeLimit
    if limit is None:
        hint = "load_environment.kwargs = {'max_episode_steps': 1000}"
        if not name.startswith(GYMNASIUM):
            hint = "wrap it in gymnasium.wrappers.TimeLimit"
        raise errors.ConfigError(f"{name} has no time limit", hint, "load_environment.kwargs")
    return int(limit)
