"""Environments that show images or states and take actions in [-1, 1]: `load(name)`."""

from planet_tf.environments.custom import accepted, is_custom
from planet_tf.environments.registry import (
    OBSERVATIONS,
    all_names,
    check_name,
    load,
    load_suite,
    names,
    needs_rendering,
)

__all__ = [
    "OBSERVATIONS",
    "accepted",
    "all_names",
    "check_name",
    "is_custom",
    "load",
    "load_suite",
    "names",
    "needs_rendering",
]
