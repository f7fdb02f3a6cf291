"""Environments that show images or states and take actions in [-1, 1]: `load(name)`."""

from planet_tf.environments.registry import (
    all_names,
    check_name,
    load,
    load_suite,
    names,
    needs_rendering,
)

__all__ = [
    "all_names",
    "check_name",
    "load",
    "load_suite",
    "names",
    "needs_rendering",
]
