"""The agent: optimizer step, policies, exploration, export."""

from planet_tf.agents.exploration import EpsilonGreedy, Exploration, GaussianNoise
from planet_tf.agents.export import export_policy
from planet_tf.agents.planet_agent import PlanetAgent
from planet_tf.agents.policy import PlanetPolicy, PlanetPyPolicy

__all__ = [
    "EpsilonGreedy",
    "Exploration",
    "GaussianNoise",
    "PlanetAgent",
    "PlanetPolicy",
    "PlanetPyPolicy",
    "export_policy",
]
