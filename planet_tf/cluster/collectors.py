"""Remote collectors: weights go out, aligned episodes come in, while the learner goes on.

Each collector is a process that Ray starts, on this machine or another, with an environment and a
policy of its own. It works on one episode at a time, with the weights that are newest when the
episode begins, and keeps it until the learner asks: so a collector is at most one episode ahead.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from planet_tf import checks, config, environments, errors, runtime, seeds, user_modules
from planet_tf.cluster import connection
from planet_tf.experience.episode import Episode

ATTEMPTS = 3
"""Failures in a row after which a collector is dropped."""

_POLL_SECONDS = 0.5  # between looks for Ctrl-C


@checks.configurable()
@dataclasses.dataclass(frozen=True)
class RemoteCollectors:
    """Where remote collectors run; `train.collectors` says how many there are.

    Args:
      address: of a Ray cluster: 'auto', 'HOST:PORT' or 'ray://HOST:PORT'; None: Ray is started on
        this machine.
      cpus: of each collector; its TensorFlow uses as many threads.
      gpus: of each collector, or a share, such as 0.25.
    """

    address: str | None = None
    cpus: checks.Count = 1
    gpus: checks.NonNegative = 0.0


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
    """

    episode: Episode
    updates: int
    decision_ms: float


class Pool:
    """Several remote collectors of one task.

    Those that fail are replaced, and their episodes repeated with other seeds.
    """

    def __init__(
        self,
        count: int,
        identity: dict,
        sequence: Callable[[int], np.random.SeedSequence],
        report: Callable[[str], None],
        check: Callable[[], None],
    ):
        """Starts the collectors.

        Args:
          count: of collectors.
          identity: of the run; see `Run.identity`.
          sequence: returns the seeds of episode number n.
          report: called with one line about each failure.
          check: called twice a second while waiting; raises to stop.

        Raises:
          ConfigError: if Ray cannot be reached, or a collector cannot be made.
        """
        self._where = RemoteCollectors()
        self._identity, self._sequence = identity, sequence
        self._report, self._check = report, check
        cpus = None if self._where.address else max(count * self._where.cpus, os.cpu_count() or 1)
        self._settings = config.in_use()
        # Other machines may not have the user's modules.
        modules = user_modules.sources(user_modules.needed(self._settings, [identity["task"]]))
        self._connection = connection.connected(self._where.address, cpus, modules)
        self._ray = self._connection.__enter__()
        try:
            if not self._where.address:
                connection.check_resources(self._ray, 0, count * self._where.gpus)
            self._collectors = {index: self._start() for index in range(count)}
            for answer in self._ray.get([c.ready.remote() for c in self._collectors.values()]):
                _raise(answer)
        except self._ray.exceptions.RayError as error:
            self.close()
            raise errors.EnvironmentFailure(f"a collector cannot be started: {error}") from error
        except BaseException:
            self.close()
            raise
        self._failures = dict.fromkeys(self._collectors, 0)
        self._working: dict[Any, tuple[int, np.random.SeedSequence]] = {}
        self._begun = 0  # the number of the next episode to begin

    def take(self, weights: Weights, first: int, count: int, left: int) -> Iterator[Collected]:
        """Yields the next `count` episodes in the order in which they are finished.

        Collectors that are idle begin an episode with these weights.

        Args:
          weights: the newest.
          first: the number of the next episode.
          count: of episodes to return.
          left: episodes that are still wanted, these included: no more are begun.

        Raises:
          EnvironmentFailure: if no collector is left.
        """
        reference = self._ray.put(weights)
        self._begun = max(self._begun, first)
        for taken in range(count):
            self._begin(reference, left - taken)
            yield self._next(reference)
        self._begin(reference, left - count)

    def close(self) -> None:
        """Ends the collectors, and Ray if it was started for them."""
        self._connection.__exit__(None, None, None)

    def _start(self) -> Any:
        where = self._where
        threads = {f"TF_NUM_{kind}OP_THREADS": str(where.cpus) for kind in ("INTRA", "INTER")}
        actor = self._ray.remote(_Collector).options(
            num_cpus=where.cpus,
            num_gpus=where.gpus,
            runtime_env={"env_vars": {**threads, **connection.python_path()}},
        )
        return actor.remote(self._settings, self._identity, bool(where.gpus))

    def _begin(self, weights, left: int) -> None:
        """Gives idle collectors an episode each, as long as some are left."""
        busy = {index for index, _ in self._working.values()}
        for index in sorted(self._collectors.keys() - busy):
            if len(self._working) < left:
                self._assign(index, self._sequence(self._begun), weights)
                self._begun += 1

    def _assign(self, index: int, sequence, weights) -> None:
        answer = self._collectors[index].collect.remote(weights, sequence)
        self._working[answer] = index, sequence

    def _next(self, weights) -> Collected:
        """Waits for an episode; replaces collectors that fail."""
        while self._working:
            done, _ = self._ray.wait(list(self._working), timeout=_POLL_SECONDS)
            self._check()
            for answer in done:
                index, sequence = self._working.pop(answer)
                try:
                    found = self._ray.get(answer)
                    _raise(found)
                except (self._ray.exceptions.RayError, errors.EnvironmentFailure) as error:
                    self._replace(index, error)
                    if index in self._collectors:
                        self._assign(index, sequence.spawn(1)[0], weights)
                    continue
                self._failures[index] = 0
                return found
        raise errors.EnvironmentFailure(
            f"all collectors failed {ATTEMPTS} times in a row",
            "the same command resumes the run",
        )

    def _replace(self, index: int, error: Exception) -> None:
        """Starts a collector again, or drops it."""
        self._failures[index] += 1
        what = error.message if isinstance(error, errors.PlanetError) else type(error).__name__
        failed = f"collector {index} failed: {what} (failure {self._failures[index]} in a row)"
        self._ray.kill(self._collectors.pop(index))
        if self._failures[index] < ATTEMPTS:
            self._report(f"{failed}; starting it again")
            self._collectors[index] = self._start()
        else:
            self._report(f"{failed}; going on with {len(self._collectors)} collectors")


class _Collector:
    """The process of one collector. Errors are returned: Ray would wrap them."""

    def __init__(self, settings: str, identity: dict, uses_gpu: bool):
        runtime.silence_libraries()
        self._error: errors.PlanetError | None = None
        try:
            with errors.as_config_errors():
                config.parse([], [settings])
                runtime.choose_device("auto" if uses_gpu else "cpu")
                self._make(identity)
        except errors.PlanetError as error:
            self._error = error

    def _make(self, identity: dict) -> None:
        from planet_tf.agents import PlanetPyPolicy, building
        from planet_tf.experience import Collector
        from planet_tf.experience.timing import TimedPolicy

        task = identity["task"]
        seed = seeds.RunSeeds(identity["seed"]).integer(seeds.Stream.ENVIRONMENT)
        self._lines: list[str] = []
        self._collector = Collector(lambda: environments.load(task, seed), self._lines.append)
        self._agent = building.make_agent(identity, jit_compile=runtime.compiles(None))
        self._policy = TimedPolicy(PlanetPyPolicy(self._agent.collect_policy))

    def ready(self):
        """Returns None, or the error that the collector could not be made for."""
        return self._error

    def collect(self, weights: Weights, sequence) -> Collected | errors.PlanetError:
        """Runs one episode."""
        if self._error:
            return self._error
        variables = self._agent.world_model.variables
        shapes = [value.shape for value in weights.values]
        if shapes != [tuple(variable.shape) for variable in variables]:
            return errors.ConfigError("a collector was sent the weights of another model")
        for variable, value in zip(variables, weights.values, strict=True):
            variable.assign(value)
        self._agent.train_step_counter.assign(weights.updates)  # schedules of exploration read it
        try:
            (episode,) = self._collector.collect(self._policy, [sequence])
        except errors.PlanetError as error:
            return error
        return Collected(episode, weights.updates, self._policy.pop_mean_ms())


def _raise(answer) -> None:
    """Raises what a collector has returned, if it is an error."""
    if isinstance(answer, errors.PlanetError):
        raise answer
