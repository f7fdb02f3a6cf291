"""Settings that differ from those of a trained agent: which of them have an effect."""

import inspect
from collections.abc import Collection, Sequence

import gin

from planet_tf import config, errors, gin_internals
from planet_tf.agents.exploration import Exploration
from planet_tf.planning import Planner

_OF_TRAINING = ("train", "PlanetAgent", "ReplayBuffer", "RemoteCollectors")


def refuse_of_training(bindings: Sequence[str], used: Collection[str]) -> None:
    """Raises ConfigError for settings that a trained agent cannot change, or has no use for.

    Args:
      bindings: gin settings.
      used: settings of training that are used, such as 'train.device', or whose, 'PlanetAgent'.
    """
    for name in config.settings("\n".join(bindings)):
        setting, owner = name.split("/")[-1], config.owner(name)
        of_training = owner in _OF_TRAINING or gin_internals.is_a(owner, Exploration)
        in_use = owner in used or f"{owner}.{setting.split('.')[-1]}" in used
        if setting == "load_environment.observations" or (of_training and not in_use):
            raise errors.ConfigError(
                f"{setting} has no effect on a run that is already trained",
                f"of the settings of training only {' and '.join(used)} can be changed",
                setting,
            )


def refuse_of_other_planners(bindings: Sequence[str], discrete: bool) -> None:
    """Raises ConfigError for settings of a planner that do not reach the one in use.

    Those in a scope that encloses the planner's, such as none, reach it, unless a narrower scope
    has the same setting.

    Args:
      bindings: gin settings, which have been parsed.
      discrete: whether actions are discrete, which decides what the usual planner is.
    """
    found = config.settings(gin.config_str())
    planner = found.get("PlanetPolicy.planner", "None").removeprefix("@").removesuffix("()")
    if planner == "None":
        planner = "CategoricalCEM" if discrete else "CEM"
    scope, _, kind = planner.rpartition("/")
    target = gin_internals.target(kind)
    if target is None or not target.__module__.startswith("planet_tf."):
        return  # a custom one may make others
    for name in config.settings("\n".join(bindings)):
        where, _, setting = name.rpartition("/")
        if not gin_internals.is_a(config.owner(name), Planner):
            continue
        parameter = setting.rpartition(".")[2]
        encloses = not where or f"{scope}/".startswith(f"{where}/")
        narrower = scope != where and f"{scope}/{kind}.{parameter}" in found
        if config.owner(name) == kind and encloses and not narrower:
            continue
        hint = f"set {planner}.{parameter}"
        if parameter not in inspect.signature(target).parameters:
            hint = f"PlanetPolicy.planner = @{config.owner(name)}() chooses another"
        raise errors.ConfigError(f"{name} has no effect: the planner is {planner}", hint, name)
