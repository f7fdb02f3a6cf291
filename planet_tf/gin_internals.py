"""What gin 0.5 knows but has no public function for; setup.cfg pins gin to this version."""

import contextlib
import os
import pathlib
from collections.abc import Callable, Iterator

import gin


def configurables() -> dict[str, Callable]:
    """Returns the functions and classes of planet_tf that gin configures, by name."""
    return {
        configurable.name: configurable.wrapped
        for _, configurable in gin.config._REGISTRY.items()
        if (configurable.module or "").startswith("planet_tf")
    }


def target(name: str) -> Callable | None:
    """Returns the function or class that gin configures under a name, the user's included."""
    found = (each for _, each in gin.config._REGISTRY.items() if each.name == name)
    return next((each.wrapped for each in found), None)


def is_a(name: str, *kinds: type) -> bool:
    """Whether a configurable, given by its name, is a subclass of one of these."""
    found = target(name)
    return isinstance(found, type) and issubclass(found, kinds)


def denylist(name: str) -> tuple[str, ...]:
    """Returns the arguments of a configurable of planet_tf that gin may not set."""
    return tuple(gin.config._REGISTRY.get_match(f"planet_tf.{name}").denylist or ())


def macros_without_value() -> list[str]:
    """Returns the names of macros that are used in the parsed settings but never set."""
    return sorted(_used_macros() - _macros())


def unused_macros() -> list[str]:
    """Returns the names of macros that are set but not used in the parsed settings."""
    return sorted(_macros() - _used_macros())


def _macros() -> set[str]:
    return {scope for scope, selector in gin.config._CONFIG if selector == "gin.macro"}


def _used_macros() -> set[str]:
    macro = gin.get_configurable("gin.macro")
    used = gin.config.iterate_references(gin.config._CONFIG, to=macro)
    return {each.scoped_selector.removesuffix("/gin.macro") for each in used}


@contextlib.contextmanager
def includes_from(first: pathlib.Path, last: pathlib.Path) -> Iterator[None]:
    """Makes gin look for included files in these folders too; its own search path only grows."""
    prefixes = gin.config._LOCATION_PREFIXES
    before = list(prefixes)
    prefixes[:] = [os.fspath(first), *before, os.fspath(last)]
    try:
        yield
    finally:
        prefixes[:] = before
