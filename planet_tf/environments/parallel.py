"""Several environments of one task, each in a process of its own, as one batched environment."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from multiprocessing import connection, resource_tracker
from typing import Any

import numpy as np
from tf_agents.environments import py_environment
from tf_agents.trajectories import time_step as ts
from tf_agents.utils import nest_utils

from planet_tf import errors
from planet_tf.environments import registry

START_TIMEOUT = 120.0  # seconds to import TensorFlow and make an environment; four are usual
_END_TIMEOUT = 5.0  # seconds to free a renderer
# Not fork: a forked child inherits the locks of TensorFlow's threads, but not the threads.
_SPAWN = multiprocessing.get_context("spawn")


class ParallelEnvironment(py_environment.PyEnvironment):
    """`count` environments of a task that act in parallel, as one batched environment.

    Row i of every array belongs to environment i; see TaskEnvironment for observations and actions.
    A row whose episode has ended starts its next one at the next step, independently of the others.

    An error in one worker ends all. As everything that uses multiprocessing's spawn, a script that
    makes these needs `if __name__ == "__main__":`.

    Attributes:
      name, action_repeat, max_steps, camera, terminates: as TaskEnvironment's.
    """

    def __init__(
        self,
        name: str,
        count: int,
        seed: int | None = None,
        action_repeat: int | None = None,
        observations: Sequence[str] = ("image",),
        camera: int | str | None = None,
        kwargs: dict[str, Any] | None = None,
        timeout: float = 60.0,
    ):
        """Starts the processes and waits for all of them.

        Args:
          name: the task, see `environments.load`.
          count: number of environments.
          seed: int >= 0 that decides all randomness in all of them; None: random.
          action_repeat: env steps per agent step; None: the task's own.
          observations: 'image', 'state' or both.
          camera: index or name of the camera that draws the image; None: the task's own.
          kwargs: further arguments; see `environments.load`.
          timeout: seconds that a worker may take for an answer.

        Raises:
          ValueError: if count is not at least 1.
          ConfigError, RenderingError: see `environments.load`.
          EnvironmentFailure: if a worker's process fails.
        """
        if count < 1:
            raise ValueError(f"{name}: there must be at least 1 environment, got {count!r}")
        super().__init__()
        self.name, self._count, self._timeout = name, count, timeout
        # All are made with one seed: if a task draws its model at random, all rows have the same
        # model, which is also that of a single environment with this seed.
        settings = {
            "seed": seed,
            "action_repeat": action_repeat,
            "observations": tuple(observations),
            "camera": camera,
            "kwargs": kwargs,
        }
        self._seeds: list[int | None] = [None] * count
        self._workers: list[_Worker] = []
        with self._all_or_none():
            for row in range(count):
                self._workers.append(_Worker(row, name, settings))
            made = [worker.receive(START_TIMEOUT) for worker in self._workers]
        self.action_repeat, self.max_steps, self.camera, self.terminates, *specs = made[0]
        self._observation_spec, self._action_spec = specs
        if seed is not None:
            self.seed(np.random.SeedSequence(seed).generate_state(count).tolist())

    @property
    def batched(self) -> bool:
        """True."""
        return True

    @property
    def batch_size(self) -> int:
        """The number of environments."""
        return self._count

    def action_spec(self):
        """Returns the spec of one row's action: float32 [A] in [-1, 1]."""
        return self._action_spec

    def observation_spec(self):
        """Returns the specs of one row's observation."""
        return self._observation_spec

    def seed(self, seeds: Sequence[int]) -> None:
        """Seeds each row from the next reset on; seeds: ints in [0, 2**32)."""
        if len(seeds) != self._count:
            raise ValueError(f"{self.name}: {self._count} seeds are needed, got {len(seeds)}")
        self._seeds = [int(seed) for seed in seeds]

    def close(self) -> None:
        """Ends all processes; the environment cannot be used afterwards."""
        self._end(_END_TIMEOUT)

    def _reset(self) -> ts.TimeStep:
        seeds, self._seeds = self._seeds, [None] * self._count
        return self._ask("reset", seeds)

    def _step(self, action) -> ts.TimeStep:
        action, expected = np.asarray(action), (self._count, *self._action_spec.shape)
        if action.shape != expected:
            raise ValueError(f"{self.name}: action has shape {action.shape}, expected {expected}")
        return self._ask("step", action)

    def _ask(self, act: str, arguments: Sequence | np.ndarray) -> ts.TimeStep:
        """Sends every worker its request before it waits for any, so that they work in parallel."""
        if not self._workers:
            raise errors.EnvironmentFailure(f"{self.name}: the environments have ended")
        with self._all_or_none():
            for worker, argument in zip(self._workers, arguments, strict=True):
                worker.send(act, argument)
            answers = [worker.receive(self._timeout) for worker in self._workers]
        return nest_utils.stack_nested_arrays(answers)

    @contextlib.contextmanager
    def _all_or_none(self) -> Iterator[None]:
        """Ends all workers if one fails: a stale answer would be taken for the next request's."""
        try:
            yield
        except BaseException:  # Ctrl-C leaves stale answers too
            self._end(0.0)
            raise

    def _end(self, timeout: float) -> None:
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.hang_up()
        for worker in workers:
            worker.join(timeout)


class _Worker:
    """The parent's side of one process and its environment."""

    def __init__(self, row: int, name: str, settings: dict[str, Any]):
        self._what = f"environment {row} of {name}"
        self._pipe, theirs = _SPAWN.Pipe()
        # A daemon process ends with its parent.
        self.process = _SPAWN.Process(target=_work, args=(theirs, name, settings), daemon=True)
        resource_tracker.ensure_running()  # or the first start() would, and unblock SIGINT
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()  # inherits the mask: the parent handles Ctrl-C
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()  # so that the pipe ends when the process does

    def send(self, act: str, argument) -> None:
        try:
            self._pipe.send((act, argument))
        except OSError as error:
            raise self._dead() from error

    def receive(self, timeout: float):
        try:
            if not self._pipe.poll(timeout):
                raise errors.EnvironmentFailure(
                    f"{self._what}: no answer within {timeout:g} seconds"
                )
            answer, error = self._pipe.recv()
        except (EOFError, OSError) as lost:
            raise self._dead() from lost
        if error:
            kind, message, *hint_and_setting = error
            raise getattr(errors, kind)(f"{self._what}: {message}", *hint_and_setting)
        return answer

    def hang_up(self) -> None:
        self._pipe.close()

    def join(self, timeout: float) -> None:
        self.process.join(timeout)
        self.process.kill()
        self.process.join()

    def _dead(self) -> errors.EnvironmentFailure:
        self.process.join(_END_TIMEOUT)
        return errors.EnvironmentFailure(
            f"{self._what}: its process died with exit code {self.process.exitcode}"
        )


def _work(pipe: connection.Connection, name: str, settings: dict[str, Any]) -> None:
    """Makes an environment, and answers requests with (answer, error) until the pipe ends.

    It uses no GPU except for rendering: nothing here is a TensorFlow operation.
    """
    with contextlib.suppress(EOFError, OSError):  # the parent has hung up or is gone
        try:
            with registry.load(name, **settings) as env:
                specs = env.observation_spec(), env.action_spec()
                shape = env.action_repeat, env.max_steps, env.camera, env.terminates
                pipe.send(((*shape, *specs), None))
                while True:
                    act, argument = pipe.recv()
                    if act == "reset" and argument is not None:
                        env.seed(argument)
                    pipe.send((env.reset() if act == "reset" else env.step(argument), None))
        except EOFError:
            raise
        except errors.PlanetError as error:
            kinds = [kind.__name__ for kind in type(error).__mro__]  # gin derives one of its own
            kind = next(name for name in kinds if hasattr(errors, name))
            pipe.send((None, (kind, error.message, error.hint, error.setting)))
        except Exception as error:
            pipe.send((None, ("EnvironmentFailure", f"{type(error).__name__}: {error}")))
