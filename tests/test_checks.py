"""Settings are checked against their annotations before anything runs."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Annotated, Literal

import gin
import numpy as np
import pytest

from planet_tf import checks, errors, gin_internals, planning, ranges

KINDS = {
    "Count": (checks.Count, [1, 10**9, np.int64(3)], [0, -1, 1.0, "1", True, None, (1,)]),
    "Natural": (checks.Natural, [0, 1], [-1, 0.0, False, None]),
    "AtLeastTwo": (checks.AtLeastTwo, [2], [1, 2.5]),
    "Positive": (checks.Positive, [1e-9, 1, np.float32(2)], [0, -1, math.nan, math.inf, True, "1"]),
    "NonNegative": (checks.NonNegative, [0, 0.5], [-1e-9, math.inf, None]),
    "Fraction": (checks.Fraction, [0, 0.999], [1, -0.1, math.nan]),
    "Counts": (checks.Counts, [(1, 2), [3], ()], [(1, 0), (1.0,), 3, "3", None, (True,)]),
    "bool": (bool, [True, False], [0, 1, "True", None]),
    "Literal": (Literal["a", None], ["a", None], ["b", "", 0, ("a",)]),
    "Literal 1": (Literal[1], [1], [True, 1.0, "1"]),
    "optional": (checks.Count | None, [None, 1], [0, False]),
    "optional bool": (bool | None, [None, True], [0, "auto"]),
    "interval": (Annotated[float, ranges.Number(1, 2, True)], [1.1, 2], [1, 2.1]),
    "part": (planning.Planner | None, [None, planning.CEM()], [planning.CEM, "CEM"]),
    # Any value may be tried.
    "abstract sequence": (Sequence[int], [(1,), 1], []),
    "int": (int, [1, "x", None], []),
    "sequence": (str | Sequence[str], ["x", 1], []),
    "documented": (Annotated[int, "no rule"], ["x"], []),
}
ACCEPTED = [(annotation, good) for annotation, goods, _ in KINDS.values() for good in goods]
REFUSED = [(annotation, bad) for annotation, _, bads in KINDS.values() for bad in bads]


def kinds(annotation):
    """Returns a function, a class and a dataclass with one such setting, and calls without it."""

    def function(size: annotation = "default"):
        return size

    class Class:
        def __init__(self, other=None, *, size: annotation = "default"):
            self.size = size

    record = dataclasses.make_dataclass("Record", [("size", annotation)], frozen=True)
    for target in (Class, record):
        target.__init__ = checks.checked(target.__init__, "Owner")
    function = checks.checked(function, "Owner")
    return [function, lambda size: Class(size=size).size, lambda size: record(size).size]


@pytest.mark.parametrize(("annotation", "value"), ACCEPTED)
def test_value_in_range_is_accepted(annotation, value):
    assert [make(size=value) for make in kinds(annotation)] == [value] * 3


@pytest.mark.parametrize(("annotation", "value"), REFUSED)
def test_value_out_of_range_is_refused(annotation, value):
    for make in kinds(annotation):
        with pytest.raises(errors.ConfigError) as error:
            make(size=value)
        assert error.value.setting == "Owner.size"
        assert "Owner.size" in error.value.message and repr(value) in error.value.message


def test_defaults_are_not_checked():
    function, *_ = kinds(checks.Count)
    assert function() == "default"


def test_positional_arguments_are_checked():
    function, *_ = kinds(checks.Count)
    with pytest.raises(errors.ConfigError):
        function(0)


def test_wrong_arguments_are_a_type_error():
    function, *_ = kinds(checks.Count)
    for arguments, keywords in (((1, 2), {}), ((), {"sizes": 1})):
        with pytest.raises(TypeError):
            function(*arguments, **keywords)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (ranges.Whole(2), "a whole number of at least 2"),
        (ranges.Number(0, open_at_least=True), "a number above 0"),
        (ranges.Number(0, 1, open_at_most=True), "a number of at least 0 and below 1"),
        (ranges.Number(0.5, 2), "a number of at least 0.5 and at most 2"),
        (ranges.Each(ranges.Whole(1)), "a tuple, each item a whole number of at least 1"),
        (ranges.OneOf(("a", None)), "one of 'a', None"),
        (ranges.Optional(ranges.Whole(0)), "a whole number of at least 0, or None"),
    ],
)
def test_rule_in_words(rule, words):
    assert str(rule) == words


# Through gin.


@pytest.fixture(scope="module")
def configurables():
    """Three kinds of configurables, each with a setting `size`: callables that return it."""

    @checks.configurable("checked_function", denylist=["name"])
    def function(name=None, size: checks.Count = 1):
        return size

    @checks.configurable()
    class CheckedClass:
        def __init__(self, size: checks.Count = 1):
            self.size = size

    @checks.configurable("checked_record")
    @dataclasses.dataclass(frozen=True)
    class Record:
        size: checks.Count = 1

    made = {
        "checked_function": function,
        "CheckedClass": lambda **keywords: CheckedClass(**keywords).size,
        "checked_record": lambda **keywords: Record(**keywords).size,
    }
    assert made.keys() < gin_internals.configurables().keys()
    yield made
    for name in made:
        gin.config._REGISTRY.pop(f"planet_tf.{name}")  # other tests look at all configurables


@pytest.mark.parametrize("name", ["checked_function", "CheckedClass", "checked_record"])
def test_gin_sets_and_checks(configurables, name):
    make = configurables[name]
    assert make() == 1
    gin.parse_config(f"{name}.size = 3")
    assert make() == 3 and make(size=2) == 2
    gin.parse_config(f"{name}.size = 0")
    with pytest.raises(errors.ConfigError) as error:
        make()
    assert error.value.setting == f"{name}.size"


def test_gin_may_not_set_what_is_denied(configurables):
    with pytest.raises(ValueError, match="name"):
        gin.parse_config("checked_function.name = 'x'")


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("rssmcell", "'RSSMCell'"),
        ("train-seed", "'train_seed'"),
        ("Train Seed", "'train_seed'"),
        ("qqqq", ""),
        (3, ""),
    ],
)
def test_nearest_names_are_suggested(wrong, near):
    hint = checks.did_you_mean(wrong, ["RSSMCell", "train_seed"])
    assert near in hint and bool(near) == bool(hint)
