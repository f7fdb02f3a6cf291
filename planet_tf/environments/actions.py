"""Actions in another form: longer vectors for several tasks, indices for one-hot vectors."""

import numpy as np
from tf_agents.environments import wrappers
from tf_agents.specs import array_spec

from planet_tf import action_specs


class IndexedActions(wrappers.PyEnvironmentBaseWrapper):
    """Takes int32 scalars, 0 to A - 1, as an exported policy acts, instead of one-hot vectors."""

    def __init__(self, env):
        super().__init__(env)
        (self._count,) = env.action_spec().shape
        self._action_spec = array_spec.BoundedArraySpec(
            (), np.int32, minimum=0, maximum=self._count - 1, name="action"
        )

    def action_spec(self) -> array_spec.BoundedArraySpec:
        """Returns the spec of an action: int32 []."""
        return self._action_spec

    def _step(self, action):
        return self._env.step(np.eye(self._count, dtype=np.float32)[np.asarray(action)])


def pad(env, size: int):
    """Returns an environment whose actions have `size` components, at least as many as it has."""
    return env if env.action_spec().shape[0] == size else PaddedActions(env, size)


class PaddedActions(wrappers.PyEnvironmentBaseWrapper):
    """Takes actions of `size` components and passes on the first ones, as many as the task has.

    Everything else (name, action_repeat, max_steps, seed, render, ...) is the environment's.
    """

    def __init__(self, env, size: int):
        """Wraps an environment of `planet_tf.environments`, batched or not.

        Raises:
          ValueError: if its actions have more than `size` components.
        """
        super().__init__(env)
        (self._taken,) = env.action_spec().shape
        if size < self._taken:
            raise ValueError(f"{env.name}: actions have {self._taken} components, not {size}")
        self._action_spec = action_specs.vector(size)

    def action_spec(self) -> array_spec.BoundedArraySpec:
        """Returns the spec of an action: float32 [size] in [-1, 1]."""
        return self._action_spec

    def _step(self, action):
        action = np.asarray(action)
        if action.shape[-1:] != self._action_spec.shape:
            raise ValueError(
                f"{self.name}: action has shape {action.shape}, expected {self._action_spec.shape}"
            )
        return self._env.step(action[..., : self._taken])
