"""PlaNet (Hafner et al. 2019) for TensorFlow 2, Keras and TF-Agents.

    import planet_tf

    planet_tf.configure(["cartpole_swingup.gin", "cpu.gin"], ["train.episodes = 40"])
    planet_tf.train("runs/swingup")
    policy = planet_tf.load_policy("runs/swingup/policy")  # a TF-Agents PyPolicy

The packages, each of which imports only those before it: `environments`, `models`, `planning`,
`experience`, `agents`, `cluster`, `analysis`, `training`, `machine`, `comparisons`, `sweeps`,
`cli`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from planet_tf import stack

if TYPE_CHECKING:
    from planet_tf.agents import PlanetAgent
    from planet_tf.config import configure
    from planet_tf.environments import load as load_environment
    from planet_tf.models import WorldModel
    from planet_tf.training import load_policy, train

__version__ = "0.1.0"
__all__ = [
    "PlanetAgent",
    "WorldModel",
    "configure",
    "load_environment",
    "load_policy",
    "train",
]

# Imported when they are first used: TensorFlow takes seconds.
_PLACES = {
    "PlanetAgent": ("agents", "PlanetAgent"),
    "WorldModel": ("models", "WorldModel"),
    "configure": ("config", "configure"),
    "load_environment": ("environments", "load"),
    "load_policy": ("training", "load_policy"),
    "train": ("training", "train"),
}


stack.prepare()


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'planet_tf' has no attribute {name!r}")
    module, attribute = _PLACES[name]
    return getattr(importlib.import_module(f"planet_tf.{module}"), attribute)
