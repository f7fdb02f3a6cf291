"""Environments of TF-Agents, seen as images or as states."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tf_agents.environments import py_environment
from tf_agents.specs import array_spec

from planet_tf import errors
from planet_tf.environments.base import IMAGE_SIZE, UNBOUNDED, TaskEnvironment, to_bounds

_MOST_CHOICES = 10_000  # an integer of more values is no choice: it has no bounds
_EXPECTED = {"image": f"uint8 [{IMAGE_SIZE}, {IMAGE_SIZE}, 3]", "state": "one vector"}


class TfAgentsEnvironment(TaskEnvironment):
    """A TF-Agents PyEnvironment; see TaskEnvironment for observations and actions.

    It observes an image, uint8 [64, 64, 3], or a state, numbers [N], or a dict that holds them as
    `image` and `state`. Actions are mapped affinely from [-1, 1] to its own bounds; those of a
    bounded integer are one-hot vectors. An episode that it ends keeps its discount; one truncated
    after `max_env_steps` ends with discount 1.
    """

    def __init__(
        self,
        env: py_environment.PyEnvironment,
        name: str,
        action_repeat: int,
        max_env_steps: int,
        observations: Sequence[str] = ("image",),
    ):
        """Wraps an environment, which then belongs to this object.

        Args:
          env: a PyEnvironment that is not batched.
          name: the name attribute.
          action_repeat: env steps per agent step.
          max_env_steps: the time limit.
          observations: 'image', 'state' or both.

        Raises:
          ConfigError: if the action repeat does not fit into an episode, or the environment is
            batched, has other actions than a bounded vector of floats, or does not show what is to
            be observed.
        """
        if env.batched:
            raise errors.ConfigError(
                f"{name}: one environment is needed, not a batch of {env.batch_size}"
            )
        spec, shown = env.action_spec(), _by_name(env.observation_spec())
        self._choices = _choices(spec)
        if not self._choices and not _is_bounded_vector(spec):
            raise errors.ConfigError(
                f"{name}: actions must be one vector of bounded floats, or one bounded integer, "
                f"got {spec}"
            )
        for key in observations:
            found = shown.get(key)
            if found is None or not _fits(key, found):
                raise errors.ConfigError(
                    f"{name}: load_environment.observations asks for {key!r}, {_EXPECTED[key]}, "
                    f"but the environment shows {env.observation_spec()}",
                    setting="load_environment.observations",
                )
        size = shown["state"].shape[0] if "state" in observations else 0
        super().__init__(
            name,
            self._choices or spec.shape[0],
            action_repeat,
            max_env_steps,
            observations,
            size,
            discrete=bool(self._choices),
            terminates=bool(np.min(env.discount_spec().minimum) < 1.0),
        )
        self._low = np.broadcast_to(spec.minimum, spec.shape).astype(np.float64)
        self._high = np.broadcast_to(spec.maximum, spec.shape).astype(np.float64)
        self._env, self._dtype = env, spec.dtype
        self._seen: Mapping[str, Any] = {}

    def seed(self, seed: int) -> None:
        """Seeds the environment if it supports that; otherwise its randomness is left as it is."""
        with contextlib.suppress(NotImplementedError):
            self._env.seed(seed)

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()

    def _start(self) -> None:
        self._seen = _by_name(self._env.reset().observation)

    def _advance(self, action: np.ndarray) -> tuple[float, float | None]:
        if self._choices:
            taken = self._low + np.argmax(action)
        else:
            taken = to_bounds(action, self._low, self._high)
        step = self._env.step(taken.astype(self._dtype))
        self._seen = _by_name(step.observation)
        return float(step.reward), float(step.discount) if step.is_last() else None

    def _draw(self) -> np.ndarray:
        if "image" not in self._seen:
            raise NotImplementedError(f"{self.name}: the environment shows no image")
        return np.array(self._seen["image"])

    def _state(self) -> np.ndarray:
        return np.array(self._seen["state"], np.float32)


def _by_name(observation) -> Mapping[str, Any]:
    """Returns what is observed, or its spec, by 'image' and 'state'."""
    if isinstance(observation, Mapping):
        return observation
    return {"image" if len(observation.shape) == 3 else "state": observation}


def _is_bounded_vector(spec) -> bool:
    return (
        isinstance(spec, array_spec.BoundedArraySpec)
        and len(spec.shape) == 1
        and np.issubdtype(spec.dtype, np.floating)
        and bool(np.all(np.maximum(-spec.minimum, spec.maximum) < UNBOUNDED))
    )


def _choices(spec) -> int:
    """Returns the number of values of a bounded integer; 0 for other specs."""
    if (
        not isinstance(spec, array_spec.BoundedArraySpec)
        or spec.shape
        or not np.issubdtype(spec.dtype, np.integer)
    ):
        return 0
    count = int(spec.maximum) - int(spec.minimum) + 1
    return count if count < _MOST_CHOICES else 0


def _fits(key: str, spec) -> bool:
    if key == "image":
        return spec.shape == (IMAGE_SIZE, IMAGE_SIZE, 3) and spec.dtype == np.uint8
    return len(spec.shape) == 1
