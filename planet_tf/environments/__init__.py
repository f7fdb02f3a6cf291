"""Environments that show images or states and take actions in [-1, 1]: `load(name)`."""

from planet_tf.environments.registry import (
    OBSERVATIONS,
    all_names,
    check_name,
    is_custom,
    load,
    load_parallel,
    load_suite,
    names,
    needs_rendering,
)

__all__ = [
    "OBSERVATIONS",
    "all_names",
    "check_name",
    "is_custom",
    "load",
    "load_parallel",
    "load_suite",
    "names",
    "needs_rendering",
]
