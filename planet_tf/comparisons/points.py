"""Settings to be compared: a name for tables, and the gin bindings."""

from collections.abc import Sequence
from typing import NamedTuple

from planet_tf import config, errors, gin_internals
from planet_tf.planning import Planner


class Point(NamedTuple):
    """Settings to measure: their name in tables, and the gin bindings."""

    name: str
    bindings: tuple[str, ...]

    @property
    def flags(self) -> str:
        """The bindings in one line."""
        return "; ".join(self.bindings)


def parse(text: str) -> Point:
    """Returns the point of bindings that a user has written, separated by semicolons.

    Raises:
      ConfigError: if there is none.
    """
    bindings = tuple(filter(None, (part.strip() for part in text.split(";"))))
    if not bindings:
        raise errors.ConfigError("--point needs bindings, such as 'CEM.candidates = 50'")
    return Point("; ".join(bindings), bindings)


def refuse_planners(bindings: Sequence[str]) -> None:
    """Raises ConfigError for settings of planners: each point has its own."""
    for name in config.settings("\n".join(bindings)):
        if name == "PlanetPolicy.planner" or gin_internals.is_a(config.owner(name), Planner):
            raise errors.ConfigError(
                f"--gin_bindings={name}: the planners are what is compared",
                f"name it in a point: --point='{name} = ...'",
                "--gin_bindings",
            )
