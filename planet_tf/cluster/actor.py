"""The process of one remote collector, and what it is sent and returns."""

from typing import NamedTuple

import gin
import numpy as np

from planet_tf import config, environments, errors, runtime, seeds
from planet_tf.experience.episode import Episode
from planet_tf.run_files import Identity


class Weights(NamedTuple):
    """A model's variables, and the updates that it was trained for."""

    values: list[np.ndarray]
    updates: int


class Collected(NamedTuple):
    """An episode that a collector has finished.

    Attributes:
      episode: see `experience.episode.align`.
      updates: that the collector's model was trained for.
      decision_ms: mean time of its decisions.
      failures: a line about each failure of the environment before.
    """

    episode: Episode
    updates: int
    decision_ms: float
    failures: tuple[str, ...] = ()


class CollectorProcess:
    """The process of one collector. Errors are returned: Ray would wrap them."""

    def __init__(self, settings: str, identity: Identity, uses_gpu: bool):
        runtime.silence_libraries()
        self._error: errors.PlanetError | None = None
        try:
            with errors.as_config_errors():
                config.parse([], [settings])
                runtime.choose_device("auto" if uses_gpu else "cpu")
                self._make(identity)
        except errors.PlanetError as error:
            self._error = error

    def _make(self, identity: Identity) -> None:
        from planet_tf.agents import PlanetPyPolicy, building
        from planet_tf.experience import Collector
        from planet_tf.experience.timing import traced

        task = identity["task"]
        seed = seeds.RunSeeds(identity["seed"]).integer(seeds.Stream.ENVIRONMENT)
        self._failures: list[str] = []
        self._collector = Collector(lambda: environments.load(task, seed), self._failures.append)
        # The run's setting; True may be meant for the learner's GPU alone.
        refused = gin.get_bindings("planet_tf.train").get("jit_compile") is False
        compiles = not refused and runtime.has_gpu()
        self._agent = building.make_agent(identity, jit_compile=compiles)
        self._exploring, self._greedy = (
            traced(PlanetPyPolicy(policy), self._collector.env)
            for policy in (self._agent.collect_policy, self._agent.policy)
        )

    def ready(self):
        """Returns None, or the error that the collector could not be made for."""
        return self._error

    def collect(
        self, weights: Weights, sequence: np.random.SeedSequence, explores: bool
    ) -> Collected | errors.PlanetError:
        """Runs one episode, with or without exploration noise."""
        if self._error:
            return self._error
        variables = self._agent.world_model.variables
        shapes = [value.shape for value in weights.values]
        if shapes != [tuple(variable.shape) for variable in variables]:
            return errors.ConfigError("a collector was sent the weights of another model")
        for variable, value in zip(variables, weights.values, strict=True):
            variable.assign(value)
        self._agent.train_step_counter.assign(weights.updates)  # schedules of exploration read it
        policy = self._exploring if explores else self._greedy
        self._failures.clear()
        try:
            (episode,) = self._collector.collect(policy, [sequence])
        except errors.PlanetError as error:
            return error
        return Collected(episode, weights.updates, policy.pop_mean_ms(), tuple(self._failures))
