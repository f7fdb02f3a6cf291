"""What Gymnasium's spaces hold for an agent: a picture, a state, actions.

`spaces` is the module `gymnasium.spaces`, which need not be installed.
"""

import operator
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from planet_tf import errors
from planet_tf.environments.base import UNBOUNDED, to_bounds

_LEAST_SIDE = 16  # pixels; smaller ones are boards and maps, such as MiniGrid's 7x7x3


def is_image(spaces: ModuleType, space: Any) -> bool:
    """Whether a space holds pictures: uint8 [H, W], [H, W, 1] or [H, W, 3], H and W at least 16."""
    is_plane = _holds_large(spaces, space) and min(space.shape[:2]) >= _LEAST_SIDE
    return is_plane and (len(space.shape) == 2 or space.shape[2:] in ((1,), (3,)))


def _holds_large(spaces: ModuleType, space: Any) -> bool:
    """Whether a space is a Box of bytes with at least two sides as long as a picture's."""
    is_bytes = isinstance(space, spaces.Box) and space.dtype == np.uint8
    return is_bytes and sum(side >= _LEAST_SIDE for side in space.shape) >= 2


def parts(name: str, spaces: ModuleType, space: Any) -> tuple[Callable[[Any], Any] | None, Any]:
    """Finds the picture and the state in an observation space.

    Returns:
      what takes the picture from an observation, or None; and the space of the rest, or None.

    Raises:
      ConfigError: if it holds several pictures.
    """
    if is_image(spaces, space):
        return lambda seen: seen, None
    if not isinstance(space, spaces.Dict):
        return None, space
    pictures = [key for key, part in space.items() if is_image(spaces, part)]
    if len(pictures) > 1:
        raise errors.ConfigError(
            f"{name}: its observation holds several pictures: {', '.join(map(str, pictures))}",
            "name a function 'module:function' that leaves one, by "
            "gymnasium.wrappers.FilterObservation",
        )
    if not pictures:
        return None, space
    rest = {key: part for key, part in space.items() if key not in pictures}
    return operator.itemgetter(*pictures), spaces.Dict(rest) if rest else None


def holds_pixels(spaces: ModuleType, space: Any) -> bool:
    """Whether a state holds pictures: in another form, such as channels first, or nested."""
    inner = space.values() if isinstance(space, spaces.Dict) else getattr(space, "spaces", ())
    return _holds_large(spaces, space) or any(holds_pixels(spaces, part) for part in inner)


def actions(
    name: str, spaces: ModuleType, space: Any
) -> tuple[Callable[[np.ndarray], Any], int, bool]:
    """Looks at an action space.

    Returns:
      what makes its actions from ours, float64 [A]; A; and whether they are discrete.

    Raises:
      ConfigError: if it is neither Discrete nor a bounded Box of floats.
    """
    if isinstance(space, spaces.Discrete):
        return lambda action: space.start + np.argmax(action), int(space.n), True
    if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise errors.ConfigError(
            f"{name}: actions must be Discrete or a Box of bounded floats, got {space}"
        )
    low, high = (x.astype(np.float64).ravel() for x in (space.low, space.high))
    if not np.all(np.maximum(-low, high) < UNBOUNDED):
        raise errors.ConfigError(
            f"{name}: its actions, {space}, have no bounds",
            "name a function 'module:function' that returns it in a wrapper with bounds, such as "
            "gymnasium.wrappers.TransformAction",
        )

    def to_box(action: np.ndarray) -> np.ndarray:
        return to_bounds(action, low, high).astype(space.dtype).reshape(space.shape)

    return to_box, len(low), False
