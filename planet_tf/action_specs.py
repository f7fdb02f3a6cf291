"""Specs of actions: vectors in [-1, 1], and one-hot vectors for a choice.

A discrete action is a one-hot vector for the model, the replay and the planner alike. Only its spec
tells: its bounds are 0 and 1.
"""

import numpy as np
from tf_agents.specs import array_spec


def vector(size: int, discrete: bool = False) -> array_spec.BoundedArraySpec:
    """Returns the spec of an action: float32 [size] in [-1, 1], or one-hot if it is discrete."""
    return array_spec.BoundedArraySpec(
        (size,), np.float32, minimum=0.0 if discrete else -1.0, maximum=1.0, name="action"
    )


def is_discrete(spec) -> bool:
    """Whether actions of a spec (of arrays or tensors) are one-hot vectors."""
    return bool(np.all(np.asarray(spec.minimum) == 0.0))


def sample(spec, random: np.random.Generator) -> np.ndarray:
    """Draws an action uniformly: float32 [A]."""
    if is_discrete(spec):
        (count,) = spec.shape
        return np.eye(count, dtype=np.float32)[random.integers(count)]
    return random.uniform(spec.minimum, spec.maximum, spec.shape).astype(np.float32)
