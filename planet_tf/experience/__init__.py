"""Experience: acting in environments, aligned episodes, and the replay they are sampled from."""

from planet_tf.experience.collector import Collector
from planet_tf.experience.episode import Episode, align
from planet_tf.experience.replay import ReplayBuffer
from planet_tf.experience.rollout import UniformPolicy, run_episodes

__all__ = ["Collector", "Episode", "ReplayBuffer", "UniformPolicy", "align", "run_episodes"]
