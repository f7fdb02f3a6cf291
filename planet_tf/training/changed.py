"""Settings that differ from those of a trained agent: which of them have an effect."""

from collections.abc import Collection, Sequence

import gin

from planet_tf import config, errors, gin_internals
from planet_tf.planning import Planner


def refuse_of_training(bindings: Sequence[str], used: Collection[str]) -> None:
    """Raises ConfigError for settings that a trained agent cannot change, or has no use for.

    Args:
      bindings: gin settings.
      used: names of settings of `train` that are used.
    """
    for name in config.settings("\n".join(bindings)):
        setting = name.split("/")[-1]
        if setting == "load_environment.observations" or (
            config.owner(setting) == "train" and setting.split(".")[-1] not in used
        ):
            raise errors.ConfigError(
                f"{setting} has no effect on a run that is already trained",
                f"of train's settings only {' and '.join(used)} can be changed",
                setting,
            )


def refuse_of_other_planners(bindings: Sequence[str], discrete: bool) -> None:
    """Raises ConfigError for settings of a planner that do not reach the one in use.

    Args:
      bindings: gin settings, which have been parsed.
      discrete: whether actions are discrete, which decides what the usual planner is.
    """
    found = config.settings(gin.config_str())
    planner = found.get("PlanetPolicy.planner", "None").removeprefix("@").removesuffix("()")
    if planner == "None":
        planner = "CategoricalCEM" if discrete else "CEM"
    scope, _, kind = planner.rpartition("/")
    for name in config.settings("\n".join(bindings)):
        owner, _, setting = name.rpartition(".")
        own = f"{scope}/{kind}.{setting}"
        if owner != kind and "/" not in owner and gin_internals.is_a(owner, Planner):
            own = f"{planner}.{setting}"
        elif owner != kind or not scope or own not in found:
            continue
        raise errors.ConfigError(
            f"{name} has no effect: the planner is {planner}", f"set {own}", name
        )
