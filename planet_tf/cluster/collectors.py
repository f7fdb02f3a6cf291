"""Remote collectors: weights go out, aligned episodes come in, while the learner goes on.

Each collector is a process that Ray starts, on this machine or another, with an environment and a
policy of its own. It works on one episode at a time, with the weights that are newest when the
episode begins, and keeps it until the learner asks: together they are at most as many episodes
ahead as there are collectors. Episodes of an evaluation come before new ones, all of them with the
weights that are evaluated.
"""

import collections
import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from planet_tf import checks, config, errors, run_files, user_modules
from planet_tf.cluster import actor, connection
from planet_tf.cluster.actor import Collected, Weights
from planet_tf.run_files import Identity
from planet_tf.seeds import RunSeeds, Stream

ATTEMPTS = 3
"""Failures in a row after which a collector is dropped."""

_POLL_SECONDS = 0.5  # between looks for Ctrl-C
_SLOW_SECONDS = 60.0  # after which collectors that have not started are mentioned


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


class Job(NamedTuple):
    """An episode that a collector is to run.

    Attributes:
      sequence: its seeds.
      weights: those that are evaluated, in Ray's store; None: the newest.
    """

    sequence: np.random.SeedSequence
    weights: Any = None

    @property
    def explores(self) -> bool:
        """Whether it is for the replay, with exploration noise, instead of an evaluation."""
        return self.weights is None


class Pool:
    """Several remote collectors of one task.

    Those that fail are replaced, and their episodes repeated with other seeds.
    """

    def __init__(
        self,
        count: int,
        identity: Identity,
        report: Callable[[str], None],
        check: Callable[[], None],
    ):
        """Starts the collectors.

        Args:
          count: of collectors.
          identity: of the run; see `Identity`.
          report: called with one line about each failure.
          check: called twice a second while waiting; raises to stop.

        Raises:
          ConfigError: if Ray cannot be reached, or a collector cannot be made.
          Interrupted: if `check` raises it while collectors start.
        """
        self._where = RemoteCollectors()
        self._identity, self._seeds = identity, RunSeeds(identity["seed"])
        self._report, self._check = report, check
        cpus = None if self._where.address else max(count * self._where.cpus, os.cpu_count() or 1)
        self._settings = config.in_use()
        # Other machines may not have the user's modules.
        modules = user_modules.sources(
            user_modules.needed(self._settings, run_files.tasks(identity))
        )
        self._collectors: dict[int, Any] = {}
        self._working: dict[Any, tuple[int, Job | None]] = {}  # by answer; None: it is starting
        self._queue: list[Job] = []  # of an evaluation, or to be repeated
        self._finished: collections.deque[Collected] = collections.deque()  # for the replay
        self._evaluated: list[Collected] = []
        self._newest: Any = None  # weights, in Ray's store
        self._begun = 0  # the number of the next episode to begin
        self._left = 0  # episodes that the replay still wants
        self._failures = dict.fromkeys(range(count), 0)
        with contextlib.ExitStack() as parts:  # disconnects if a collector cannot be made
            self._ray = parts.enter_context(
                connection.connected(self._where.address, cpus, modules)
            )
            if not self._where.address:
                connection.check_resources(self._ray, 0, count * self._where.gpus)
            self._start_all(count)
            self._connection = parts.pop_all()

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
        self._newest = self._ray.put(weights)
        self._begun, self._left = max(self._begun, first), left
        self._look()
        for _ in range(count):
            while not self._finished:
                self._wait()
            self._left -= 1
            yield self._finished.popleft()
            self._begin()

    def evaluate(self, weights: Weights, sequences: Sequence[np.random.SeedSequence]) -> None:
        """Has an episode run per seed without noise, as soon as collectors are idle.

        The evaluation before must be complete.
        """
        reference = self._ray.put(weights)
        self._queue += [Job(sequence, reference) for sequence in sequences]
        self._look()

    def pop_evaluation(self, wait: bool) -> list[Collected]:
        """Returns the episodes of the evaluation, once; none while some are missing.

        Args:
          wait: until none is missing.

        Raises:
          EnvironmentFailure: if no collector is left.
        """
        self._look()
        while (missing := self._jobs(explore=False)) and wait:
            self._wait()
        if missing:
            return []
        found, self._evaluated = self._evaluated, []
        return found

    def close(self) -> None:
        """Ends the collectors, and Ray if it was started for them."""
        self._connection.close()

    def _start_all(self, count: int) -> None:
        """Starts the collectors, and waits until all have answered."""
        try:
            for index in range(count):
                self._start(index)
            waiting, begun, mentioned = list(self._working), time.monotonic(), False
            while waiting:
                self._check()
                done, waiting = self._ray.wait(waiting, num_returns=1, timeout=_POLL_SECONDS)
                for answer in done:
                    _raise(self._ray.get(answer))
                if waiting and not mentioned and time.monotonic() - begun >= _SLOW_SECONDS:
                    self._mention(len(waiting))
                    mentioned = True
        except self._ray.exceptions.RayError as error:
            raise errors.EnvironmentFailure(f"a collector cannot be started: {error}") from error
        self._working.clear()

    def _mention(self, missing: int) -> None:
        """Prints what collectors that have not started may be waiting for."""
        gpus = f" and {self._where.gpus:g} GPUs" if self._where.gpus else ""
        print(
            f"note: {missing} of {len(self._collectors)} collectors have not started yet; each "
            f"waits for {self._where.cpus} free CPUs{gpus} (`ray status` shows what is in use)",
            file=sys.stderr,
        )

    def _start(self, index: int) -> None:
        """Starts a collector; it works once it has answered."""
        where = self._where
        threads = {f"TF_NUM_{kind}OP_THREADS": str(where.cpus) for kind in ("INTRA", "INTER")}
        process = self._ray.remote(actor.CollectorProcess).options(
            num_cpus=where.cpus,
            num_gpus=where.gpus,
            runtime_env={"env_vars": {**threads, **connection.python_path()}},
        )
        started = process.remote(self._settings, self._identity, bool(where.gpus))
        self._collectors[index] = started
        self._working[started.ready.remote()] = index, None

    def _jobs(self, explore: bool) -> int:
        """Returns how many episodes are not finished: for the replay, or of an evaluation."""
        jobs = [*self._queue, *(job for _, job in self._working.values() if job)]
        return sum(job.explores == explore for job in jobs)

    def _begin(self) -> None:
        """Gives idle collectors an episode each: of the queue, or a new one, if one is wanted."""
        busy = {index for index, _ in self._working.values()}
        for index in sorted(self._collectors.keys() - busy):
            ahead = len(self._finished) + self._jobs(explore=True)
            if self._queue:
                self._assign(index, self._queue.pop(0))
            elif ahead < min(self._left, len(self._collectors)):
                self._assign(index, Job(self._seeds.sequence(Stream.COLLECT, self._begun)))
                self._begun += 1

    def _assign(self, index: int, job: Job) -> None:
        weights = self._newest if job.explores else job.weights
        answer = self._collectors[index].collect.remote(weights, job.sequence, job.explores)
        self._working[answer] = index, job

    def _wait(self) -> None:
        """Waits up to half a second for a collector.

        Raises:
          EnvironmentFailure: if none is left.
        """
        if not self._collectors:
            raise errors.EnvironmentFailure(
                f"all collectors failed {ATTEMPTS} times in a row; see above",
                "the same command resumes the run",
            )
        self._check()
        self._look(1, _POLL_SECONDS)

    def _look(self, count: int | None = None, seconds: float = 0.0) -> None:
        """Takes what up to `count` collectors have finished, and gives idle ones an episode.

        Those that failed are replaced.
        """
        if self._working:
            count = count or len(self._working)
            done, _ = self._ray.wait(list(self._working), num_returns=count, timeout=seconds)
            for answer in done:
                self._receive(answer)
        self._begin()

    def _receive(self, answer) -> None:
        """Keeps an episode, or has it repeated if the collector failed."""
        index, job = self._working.pop(answer)
        try:
            found = self._ray.get(answer)
            _raise(found)
        except (self._ray.exceptions.RayError, errors.PlanetError) as error:
            broken = isinstance(error, (self._ray.exceptions.RayError, errors.EnvironmentFailure))
            if job and not broken:  # such as a model that is not finite: no other collector helps
                raise
            self._replace(index, error)
            if job:  # the collector's process has tried the first of the seeds that follow
                self._queue.insert(0, job._replace(sequence=job.sequence.spawn(2)[1]))
            return
        if job:
            self._failures[index] = 0
            for line in found.failures:
                self._report(line)
            (self._finished if job.explores else self._evaluated).append(found)

    def _replace(self, index: int, error: Exception) -> None:
        """Starts a collector again, or drops it."""
        self._failures[index] += 1
        cause = getattr(error, "cause", None)  # of an error in Python, which Ray wraps
        what = f"{type(cause).__name__}: {cause}" if cause else type(error).__name__
        what = error.message if isinstance(error, errors.PlanetError) else what
        failed = f"collector {index} failed: {what} (failure {self._failures[index]} in a row)"
        self._ray.kill(self._collectors.pop(index))
        if self._failures[index] < ATTEMPTS:
            self._report(f"{failed}; starting it again")
            self._start(index)
        else:
            self._report(f"{failed}; collectors left: {len(self._collectors)}")


def _raise(answer) -> None:
    """Raises what a collector has returned, if it is an error."""
    if isinstance(answer, errors.PlanetError):
        raise answer
