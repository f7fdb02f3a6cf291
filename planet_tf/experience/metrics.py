"""TF-Agents' metrics of the collected episodes.

They observe what enters the replay instead of the driver: discarded episodes and idle rows must not
count, and a resumed run counts episodes that it finds on disk but not in its checkpoint.
"""

from tf_agents.metrics import py_metrics

from planet_tf.experience import episode as episodes
from planet_tf.experience.episode import Episode


class CollectMetrics:
    """Return and length of the last episode; episodes and agent steps of all, per task.

    Attributes:
      objects: the metrics by name, for checkpoints.
    """

    def __init__(self, tasks: list[str]):
        # TF-Agents' EnvironmentSteps counts what is an agent step here.
        self._steps = {task: py_metrics.EnvironmentSteps() for task in tasks}
        self._return = py_metrics.AverageReturnMetric(buffer_size=1, batch_size=1)
        self._length = py_metrics.AverageEpisodeLengthMetric(buffer_size=1, batch_size=1)
        self._episodes = py_metrics.NumberOfEpisodes()
        self.objects = {
            "return": self._return,
            "length": self._length,
            "episodes": self._episodes,
            **{f"agent_steps_{task}": metric for task, metric in self._steps.items()},
        }

    def observe(self, task: str, episode: Episode) -> None:
        """Counts an episode of a task."""
        observers = (self._return, self._length, self._episodes, self._steps[task])
        for trajectory in episodes.trajectories(episode):
            for observer in observers:
                observer(trajectory)

    def last(self) -> dict[str, float]:
        """Returns the `return` and `length` of the last episode."""
        return {
            "return": float(self._return.result()),
            "length": float(self._length.result()),
        }

    def agent_steps(self) -> dict[str, int]:
        """Returns the agent steps collected so far by task."""
        return {task: int(metric.result()) for task, metric in self._steps.items()}
