"""Several environments of one task at once, each in a process of its own, as one batch."""

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

from planet_tf import environments

START_TIMEOUT = 120.0  # seconds to import TensorFlow and make an environment; four are usual
_END_TIMEOUT = 5.0  # seconds to free a renderer
# Not fork: a forked child has the locks of TensorFlow's threads, but not the threads.
_SPAWN = multiprocessing.get_context("spawn")


class WorkerError(RuntimeError):
    """A worker process failed, died or does not answer; the message names its row and why."""


class EnvironmentProcesses(py_environment.PyEnvironment):
    """`count` environments of a task that act at the same time, as one batched environment.

    Row i of every array is environment i's; see TaskEnvironment for what they give and take. A
    row whose episode is over starts its next one at the next step, whatever the others do.

    A WorkerError ends all workers; `restart` starts new ones. Like all that uses multiprocessing's
    spawn, a script that makes these needs `if __name__ == "__main__":`.

    Attributes:
      name, action_repeat, max_steps, camera: as TaskEnvironment's.
    """

    def __init__(
        self,
        name: str,
        count: int,
        action_repeat: int | None = None,
        seed: int | None = None,
        observations: Sequence[str] = ("image",),
        camera: int | str | None = None,
        timeout: float = 60.0,
    ):
        """Starts the processes and waits for all of them.

        Args:
          name: the task, see `environments.load`.
          count: number of environments.
          action_repeat: env steps an agent step; None: the task's own.
          seed: int >= 0 that decides everything random in all of them; None: random.
          observations: 'image', 'state' or both.
          camera: index or name of the camera that draws the picture; None: the task's own.
          timeout: seconds that a worker may take for an answer.

        Raises:
          ValueError: if count is not at least 1.
          WorkerError: if a worker cannot make its environment.
        """
        if count < 1:
            raise ValueError(f"{name}: there must be at least 1 environment, got {count!r}")
        super().__init__()
        self.name, self._count, self._timeout = name, count, timeout
        # All are made with one seed: where a task draws its model at random, all rows have the same
        # one, which is also that of a single environment of this seed.
        self._settings = {
            "seed": seed,
            "action_repeat": action_repeat,
            "observations": tuple(observations),
            "camera": camera,
        }
        self._seeds: list[int | None] = [None] * count
        self._workers: list[_Worker] = []
        self.restart()
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
        """Gives each row an int in [0, 2**32) that decides all from the next `reset` on."""
        if len(seeds) != self._count:
            raise ValueError(f"{self.name}: {self._count} seeds are needed, got {len(seeds)}")
        self._seeds = [int(seed) for seed in seeds]

    def restart(self) -> None:
        """Kills all workers and starts new ones, which begin with a reset.

        Raises:
          WorkerError: if a worker cannot make its environment.
        """
        self._end(0.0)
        self._current_time_step = None
        with self._all_or_none():
            for row in range(self._count):
                self._workers.append(_Worker(row, self.name, self._settings))
            made = [worker.receive(START_TIMEOUT) for worker in self._workers]
        self.action_repeat, self.max_steps, self.camera, *specs = made[0]
        self._observation_spec, self._action_spec = specs

    def close(self) -> None:
        """Ends all processes; only `restart` can be called then."""
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
        """Sends every worker its request before it waits for any: they work at the same time."""
        if not self._workers:
            raise WorkerError(f"{self.name}: the environments have ended; call restart()")
        with self._all_or_none():
            for worker, argument in zip(self._workers, arguments, strict=True):
                worker.send(act, argument)
            answers = [worker.receive(self._timeout) for worker in self._workers]
        return nest_utils.stack_nested_arrays(answers)

    @contextlib.contextmanager
    def _all_or_none(self) -> Iterator[None]:
        """Ends all workers if one fails: answers left over would be taken for the next ones."""
        try:
            yield
        except BaseException:  # Ctrl-C leaves answers too
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
        # A daemon: it is ended with its parent.
        self.process = _SPAWN.Process(target=_work, args=(theirs, name, settings), daemon=True)
        resource_tracker.ensure_running()  # or the first start() would, and unblock SIGINT
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()  # inherits the mask: Ctrl-C is the parent's business
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
                raise WorkerError(f"{self._what}: no answer within {timeout:g} seconds")
            answer, error = self._pipe.recv()
        except (EOFError, OSError) as lost:
            raise self._dead() from lost
        if error:
            raise WorkerError(f"{self._what}: {error}")
        return answer

    def hang_up(self) -> None:
        self._pipe.close()

    def join(self, timeout: float) -> None:
        self.process.join(timeout)
        self.process.kill()
        self.process.join()

    def _dead(self) -> WorkerError:
        self.process.join(_END_TIMEOUT)
        return WorkerError(f"{self._what}: its process died with exit code {self.process.exitcode}")


def _work(pipe: connection.Connection, name: str, settings: dict[str, Any]) -> None:
    """Makes an environment, and answers requests with (answer, error) until the pipe ends.

    It uses no GPU but the renderer's: nothing here is an operation of TensorFlow's.
    """
    with contextlib.suppress(EOFError, OSError):  # the parent has hung up, or is no more
        try:
            with environments.load(name, **settings) as env:
                specs = env.observation_spec(), env.action_spec()
                pipe.send(((env.action_repeat, env.max_steps, env.camera, *specs), None))
                while True:
                    act, argument = pipe.recv()
                    if act == "reset" and argument is not None:
                        env.seed(argument)
                    pipe.send((env.reset() if act == "reset" else env.step(argument), None))
        except EOFError:
            raise
        except Exception as error:  # whatever it is, the parent says it
            pipe.send((None, f"{type(error).__name__}: {error}"))
