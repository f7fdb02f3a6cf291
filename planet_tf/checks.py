"""Settings: what may be set with gin, and which values it may have.

The range of a setting is its annotation, and is checked before the function or class runs:

    @configurable()
    class RewardHead:
        def __init__(self, units: Count = 300, layers: Natural = 3): ...

`RewardHead.units = 0` is then a ConfigError that names `RewardHead.units`. docs/configuration.md is
generated from the same annotations.
"""

import difflib
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any

import gin

from planet_tf import errors
from planet_tf.ranges import Each, InstanceOf, Number, OneOf, Optional, Whole

Count = Annotated[int, Whole(1)]
Natural = Annotated[int, Whole(0)]
AtLeastTwo = Annotated[int, Whole(2)]
AtLeastOne = Annotated[float, Number(1)]
Positive = Annotated[float, Number(0, open_at_least=True)]
NonNegative = Annotated[float, Number(0)]
Fraction = Annotated[float, Number(0, 1, open_at_most=True)]
Probability = Annotated[float, Number(0, 1)]
Counts = Annotated[Sequence[int], Each(Whole(1))]


def rule_of(annotation: Any):
    """Returns the rule that an annotation stands for; None if any value may be tried."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is bool:
        return OneOf((True, False))
    if origin is Annotated:
        return next((part for part in arguments[1:] if hasattr(part, "accepts")), None)
    if origin is typing.Literal:
        return OneOf(arguments)
    if origin is None and inspect.isabstract(annotation):  # Sequence[int] also is, on Python 3.10
        return InstanceOf(annotation)
    if origin in (typing.Union, types.UnionType) and type(None) in arguments:
        others = [rule_of(part) for part in arguments if part is not type(None)]
        return Optional(others[0]) if len(others) == 1 and others[0] is not None else None
    return None


def checked(function: Callable, name: str) -> Callable:
    """Returns the function with its arguments checked against their annotations.

    Args:
      function: a function or an `__init__`.
      name: what its settings are settings of.
    """
    signature = inspect.signature(function)
    rules = {key: rule_of(value) for key, value in inspect.get_annotations(function).items()}

    @functools.wraps(function)
    def call(*arguments, **keywords):
        for key, value in signature.bind(*arguments, **keywords).arguments.items():
            if (rule := rules.get(key)) is not None and not rule.accepts(value):
                setting = f"{name}.{key}"
                raise errors.ConfigError(f"{setting} must be {rule}, got {value!r}", "", setting)
        return function(*arguments, **keywords)

    call.__signature__ = signature  # type: ignore[attr-defined]  # gin looks for it, not inside
    return call


def configurable(name: str | None = None, denylist: Sequence[str] = ()) -> Callable:
    """Decorates a function or class: gin sets its arguments, and their ranges are checked.

    Args:
      name: what gin calls it; None: its own name.
      denylist: arguments that gin may not set.
    """

    def decorate(target):
        called = name or target.__name__
        if inspect.isclass(target):
            target.__init__ = checked(target.__init__, called)
        else:
            target = checked(target, called)
        return gin.configurable(called, module="planet_tf", denylist=list(denylist))(target)

    return decorate


def did_you_mean(wrong: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """Returns 'did you mean ...?' with the nearest names, or '' if none is near."""
    by_lower = {str(right).lower(): str(right) for right in known}  # some names have capitals
    spelling = str(wrong).lower().replace("-", "_").replace(" ", "_")
    near = difflib.get_close_matches(spelling, by_lower, n=3, cutoff=cutoff)
    return f"did you mean {' or '.join(repr(by_lower[name]) for name in near)}?" if near else ""
