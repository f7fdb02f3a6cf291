"""Measures remote collectors, and forecasts what a run gains by them."""

import dataclasses
import math
import pathlib
import time
from collections.abc import Iterator, Sequence

import numpy as np

from planet_tf import config, errors, run_files
from planet_tf.agents import building
from planet_tf.cluster.actor import Weights
from planet_tf.cluster.collectors import Pool
from planet_tf.environments import dot_goal
from planet_tf.machine import benchmark, estimates
from planet_tf.run_files import Identity
from planet_tf.training import Settings, remote
from planet_tf.training.run import Run
from planet_tf.training.tasks import Tasks, checked

SIMULATION = (
    "train.task = 'planet_tf.machine.collection:slow_dot_goal'",
    "load_environment.observations = ('state',)",
    "PlanetPolicy.planner = @RandomShooting()",
    "RandomShooting.candidates = 1",
    "RandomShooting.horizon = 1",
)
"""Settings of the simulated task: with debug.gin's model, a decision takes next to no time."""

_EPISODES = 4  # timed per collector, after its first


@dataclasses.dataclass
class Scaling:
    """What a number of collectors did in the simulated task.

    Attributes:
      collectors: how many.
      start_seconds: until all were ready, Ray's own start included.
      memory_bytes: that each took of the machine's memory, with its share of Ray itself.
      episodes_per_second: of all.
      decision_ms: mean time of a decision.
    """

    collectors: int
    start_seconds: float
    memory_bytes: float
    episodes_per_second: float
    decision_ms: float


@dataclasses.dataclass
class Costs:
    """What an episode of a run costs the learner, a collector and the network.

    Attributes:
      agent_steps: decisions of the episode.
      episode_bytes: that a collector sends.
      file_bytes: that the learner writes.
      weights_bytes: that go to a collector before an episode.
      update: seconds.
      acting: seconds of the episode in the learner's process.
      acting_remotely: the same in a collector on this machine, with the CPUs and GPUs that
        `RemoteCollectors` gives it.
      adding: seconds to check the episode, write it and add it to the replay.
      updates_per_episode, episodes: of the run's settings.
    """

    agent_steps: int
    episode_bytes: int
    file_bytes: int
    weights_bytes: int
    update: float
    acting: float
    acting_remotely: float
    adding: float
    updates_per_episode: int
    episodes: int

    def episode_seconds(self, collectors: int) -> float:
        """Returns the time between two episodes; 0 collectors: the learner collects itself."""
        if not collectors:
            return self.learning + self.acting
        return max(self.learning, self.acting_remotely / collectors)

    @property
    def learning(self) -> float:
        """Seconds of the learner per episode: no number of collectors makes a run faster."""
        return self.updates_per_episode * self.update + self.adding

    @property
    def enough(self) -> int:
        """The fewest collectors that keep the learner busy."""
        return math.ceil(self.acting_remotely / self.learning)


class _SlowDotGoal(dot_goal.DotGoal):
    """A DotGoal whose env steps take time but no CPU, as a robot's do."""

    step_seconds = 0.0

    def _advance(self, action: np.ndarray) -> tuple[float, float | None]:
        time.sleep(self.step_seconds)
        return super()._advance(action)


def slow_dot_goal(
    seed: int, observations: Sequence[str], step_seconds: float = 0.0
) -> dot_goal.DotGoal:
    """Makes the simulated task; an env step sleeps for `step_seconds`."""
    env = _SlowDotGoal(seed, observations=observations)
    env.step_seconds = step_seconds
    return env


def scaling(
    counts: Sequence[int], step_seconds: float, bindings: Sequence[str] = ()
) -> Iterator[Scaling]:
    """Measures collectors of the simulated task, for each number of them.

    Args:
      counts: of collectors.
      step_seconds: of an env step; an episode has 50.
      bindings: gin bindings, of which those of RemoteCollectors are used.

    Raises:
      ConfigError: if Ray is not installed or cannot be started.
    """
    slow = f"load_environment.kwargs = {{'step_seconds': {step_seconds}}}"
    where = [binding for binding in bindings if binding.startswith("RemoteCollectors.")]
    config.configure(["debug.gin"], [*SIMULATION, slow, *where])
    tasks = Tasks(Settings().task, 0, 1)
    tasks.close()
    identity = tasks.identity(seed=0)
    weights = remote.weights(building.make_agent(identity, jit_compile=False))
    for count in counts:
        yield _scaling(count, identity, weights)


def _pool(count: int, identity: Identity) -> Pool:
    return Pool(count, identity, print, lambda: None)


def _scaling(count: int, identity: Identity, weights: Weights) -> Scaling:
    free, start = _free_memory(), time.perf_counter()
    pool = _pool(count, identity)
    try:
        ready = time.perf_counter()
        for _ in pool.take(weights, 0, count, count):  # one episode of each: it traces its policy
            pass
        memory = (free - _free_memory()) / count
        begun = time.perf_counter()
        found = list(pool.take(weights, count, _EPISODES * count, 10**6))
        seconds = time.perf_counter() - begun
    finally:
        pool.close()
    decision_ms = float(np.mean([each.decision_ms for each in found]))
    return Scaling(count, ready - start, memory, len(found) / seconds, decision_ms)


def costs(
    gin_files: Sequence[str],
    bindings: Sequence[str] = (),
    jit_compile: bool | None = None,
    repeats: int = 5,
) -> Costs:
    """Measures an episode of a training configuration; for the arguments see `benchmark.measure`.

    Raises:
      ConfigError: if a setting cannot be used.
    """
    config.configure(gin_files, bindings)
    if len(checked(Settings().task)) > 1:
        raise errors.ConfigError("remote collectors collect one task", setting="train.task")
    with benchmark.fresh_run(jit_compile) as (run, settings):
        seconds = benchmark.act_seconds(run, repeats)
        ((number, episode),) = run.replay.episodes_since(run.episodes - 1)
        (file,) = (run.directory.root / run_files.TRAIN_EPISODES).glob(f"{number:06d}-*.npz")
        variables = run.agent.world_model.variables
        return Costs(
            agent_steps=len(episode["reward"]) - 1,
            episode_bytes=sum(array.nbytes for array in episode.values()),
            file_bytes=file.stat().st_size,
            weights_bytes=sum(4 * variable.shape.num_elements() for variable in variables),
            update=seconds.update,
            acting=(len(episode["reward"]) - 1) * (seconds.collecting + seconds.step),
            acting_remotely=_remote_seconds(run),
            adding=benchmark.median_seconds(lambda: run.replay.add_episode(episode), repeats),
            updates_per_episode=settings.updates_per_episode,
            episodes=settings.episodes,
        )


def _remote_seconds(run: Run) -> float:
    """Times the second episode of a collector: during the first it traces its policy."""
    pool, weights = _pool(1, run.identity), remote.weights(run.agent)
    try:
        for number in range(2):
            start = time.perf_counter()
            for _ in pool.take(weights, number, 1, 1):
                pass
        return time.perf_counter() - start
    finally:
        pool.close()


def scaling_table(measured: Sequence[Scaling]) -> str:
    """Lays out the simulated task; speeds are relative to the first number of collectors."""
    lines = ["collectors  episodes per s  ratio  decision  ready after  memory of each"]
    for each in measured:
        ratio = each.episodes_per_second / measured[0].episodes_per_second
        lines.append(
            f"{each.collectors:10} {each.episodes_per_second:15.2f} {ratio:6.2f} "
            f"{each.decision_ms:6.1f} ms {each.start_seconds:10.0f} s "
            f"{each.memory_bytes / 1e6:12.0f} MB"
        )
    return "\n".join(lines)


def forecast(found: Costs) -> str:
    """Lays out what an episode costs, and the length of the run for numbers of collectors."""
    lines = [
        f"an episode of {found.agent_steps} decisions takes a collector on this machine "
        f"{found.acting_remotely:.1f} s; {found.episode_bytes / 1e6:.2f} MB are sent and "
        f"{found.file_bytes / 1e6:.2f} MB written",
        f"the weights are {found.weights_bytes / 1e6:.2f} MB",
        f"the learner needs {found.learning:.1f} s per episode for {found.updates_per_episode} "
        f"updates; without them it could add {1 / found.adding:.0f} episodes per second",
        f"collectors  s per episode  {found.episodes} episodes",
    ]
    for count in sorted({0, 1, 2, 4, 8, 16, found.enough}):
        if count <= found.enough:
            seconds = found.episode_seconds(count)
            length = estimates.duration(seconds * found.episodes)
            lines.append(f"{count:10} {seconds:14.1f}  {length}")
    lines.append(f"more than {found.enough} would wait for the learner")
    return "\n".join(lines)


def _free_memory() -> int:
    return estimates.kernel_bytes(pathlib.Path("/proc/meminfo").read_text(), "MemAvailable")
