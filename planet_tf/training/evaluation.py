"""Scores of evaluation episodes."""

import dataclasses

import numpy as np

from planet_tf.experience.episode import Episode


@dataclasses.dataclass
class Score:
    """Evaluation episodes and their returns."""

    episodes: list[Episode]

    @property
    def returns(self) -> list[float]:
        """Sum of the rewards of each."""
        return [float(episode["reward"].sum()) for episode in self.episodes]

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(np.mean(self.returns))

    @property
    def std(self) -> float:
        """Population standard deviation of the returns."""
        return float(np.std(self.returns))

    @property
    def agent_steps(self) -> int:
        """Decisions in all episodes."""
        return sum(len(episode["reward"]) - 1 for episode in self.episodes)
