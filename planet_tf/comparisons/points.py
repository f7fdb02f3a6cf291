"""Settings to be compared: a name for tables, and the gin bindings."""

from typing import NamedTuple

from planet_tf import errors


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
