"""Ranges of values: of settings and of flags. Needs the standard library alone."""

import math
import numbers
from typing import Any, NamedTuple


class Whole(NamedTuple):
    """Whole numbers of at least `least`."""

    least: int

    def accepts(self, value: Any) -> bool:
        """Whether the value is one; True and False are not."""
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        return whole and value >= self.least

    def __str__(self) -> str:
        return f"a whole number of at least {self.least}"


class Number(NamedTuple):
    """Numbers from `least` to `most`; `open_at_least`, `open_at_most` exclude the bounds."""

    least: float
    most: float = math.inf
    open_at_least: bool = False
    open_at_most: bool = False

    def accepts(self, value: Any) -> bool:
        """Whether the value is one; NaN, infinity, True and False are not."""
        if not isinstance(value, numbers.Real) or isinstance(value, bool):
            return False
        value = float(value)
        above = value > self.least if self.open_at_least else value >= self.least
        below = value < self.most if self.open_at_most else value <= self.most
        return above and below and math.isfinite(value)

    def __str__(self) -> str:
        text = f"a number {'above' if self.open_at_least else 'of at least'} {self.least:g}"
        if math.isfinite(self.most):
            text += f" and {'below' if self.open_at_most else 'at most'} {self.most:g}"
        return text


class Each(NamedTuple):
    """Tuples or lists whose items all follow one rule."""

    rule: Whole | Number

    def accepts(self, value: Any) -> bool:
        """Whether the value is one."""
        return isinstance(value, (tuple, list)) and all(map(self.rule.accepts, value))

    def __str__(self) -> str:
        return f"a tuple, each item {self.rule}"


class OneOf(NamedTuple):
    """A choice; None, True and False match only themselves, not 0 or 1."""

    choices: tuple

    def accepts(self, value: Any) -> bool:
        """Whether the value is one of the choices."""
        return any(type(value) is type(choice) and value == choice for choice in self.choices)

    def __str__(self) -> str:
        return f"one of {', '.join(map(repr, self.choices))}"


class InstanceOf(NamedTuple):
    """Objects of one of the kinds of parts that gin makes, such as planners."""

    kind: type

    def accepts(self, value: Any) -> bool:
        """Whether the value is one; a class is none."""
        return isinstance(value, self.kind)

    def __str__(self) -> str:
        name = self.kind.__name__
        article = "an" if name[0] in "AEIOU" else "a"
        return f"{article} {name}, in gin with @ and parentheses: @NAME()"


class Optional(NamedTuple):
    """None, or what a rule accepts."""

    rule: Any

    def accepts(self, value: Any) -> bool:
        """Whether the value is None or follows the rule."""
        return value is None or self.rule.accepts(value)

    def __str__(self) -> str:
        return f"{self.rule}, or None"
