"""What a run needs from a machine: memory, disk and time.

Arithmetic on the run's settings and on what the doctor has measured of its first episode.
"""

import math
import pathlib
import re
import statistics
from typing import NamedTuple

from planet_tf import run_files
from planet_tf.machine.benchmark import ActSeconds
from planet_tf.training import loop
from planet_tf.training.run import Run
from planet_tf.training.settings import Settings

# Checkpoints: the newest two, the next, and copies of the best, of its successor, and of one that
# remote collectors are evaluating.
_KEPT = 2 + 1 + 3
_COPIES = 3  # of the parameters in a checkpoint: Adam has two moments of each
_STEP_BYTES = 300  # of TensorFlow, per array and frame: 64x64 pixels take the 14 kB of `replay`
_GRAPH_BYTES = 1_000_000  # of a SavedModel without its parameters
_LOG_BYTES = 6_000  # per episode, in TensorBoard's files and scalars.jsonl
_PICTURE_BYTES = 30_000  # per evaluation and step of the chunk that TensorBoard shows


class Needs(NamedTuple):
    """Measurements of a run's first episodes, updates and decisions."""

    agent_steps: float  # per episode
    frame_bytes: int  # of memory, per frame
    episode_bytes: float  # of disk, per episode
    picture_bytes: int  # of disk, per frame of an evaluation's pictures
    parameters: int
    process_bytes: int  # of memory, at most, with next to no episodes
    held_bytes: int  # of memory, by the process that measured


class DryRun:
    """Counts what `loop.learn` does instead of doing it."""

    def __init__(self, settings: Settings, tasks: int):
        self.episodes = self.heldout_episodes = self.evaluated = 0
        self.updates = self.updates_since_collection = self.evaluations = 0
        self.random_episodes = self.planned_episodes = self.scored_episodes = 0
        self._tasks = tasks
        loop.learn(self, settings)

    def collect_random(self, count: int) -> None:
        """Counts random episodes."""
        self.episodes += count
        self.random_episodes += count

    def hold_out_random(self, count: int) -> None:
        """Counts held-out random episodes."""
        self.heldout_episodes += count
        self.random_episodes += count

    def fit(self, updates: int) -> None:
        """Counts updates."""
        self.updates += updates

    def collect(self, count: int) -> None:
        """Counts planned episodes."""
        self.episodes += count
        self.planned_episodes += count

    def evaluate(self, episodes: int) -> None:
        """Counts an evaluation."""
        self.evaluations += 1
        self.evaluated = self.episodes
        self.scored_episodes += episodes * self._tasks
        self.heldout_episodes += episodes * self._tasks

    def save(self) -> None:
        """Does nothing."""

    def export(self) -> None:
        """Does nothing."""

    def kept(self, capacity: int) -> int:
        """Returns the episodes that a run keeps at the end."""
        return min(self.episodes, capacity) + min(self.heldout_episodes, capacity)

    def seconds(self, agent_steps: float, seconds: ActSeconds) -> float:
        """Returns the time of updates, decisions and env steps, one environment at a time."""
        acting = self.planned_episodes * (seconds.collecting + seconds.step)
        acting += self.scored_episodes * (seconds.decision + seconds.step)
        acting += self.random_episodes * seconds.step
        return self.updates * seconds.update + agent_steps * acting


def measured(run: Run) -> Needs:
    """Measures a run, from `benchmark.fresh_run`, that has an episode of each task."""
    status = pathlib.Path("/proc/self/status").read_text()
    files = list((run.directory.root / run_files.TRAIN_EPISODES).glob("*.npz"))
    arrays = run.agent.training_data_spec.values()
    weights = run.agent.world_model.trainable_variables
    agent_steps = statistics.mean(each.env.max_steps for each in run.tasks.collectors)
    return Needs(
        agent_steps=agent_steps,
        frame_bytes=sum(
            array.shape.num_elements() * array.dtype.size + _STEP_BYTES for array in arrays
        ),
        episode_bytes=statistics.mean(map(_bytes_per_frame, files)) * (agent_steps + 1),
        picture_bytes=_PICTURE_BYTES if run.agent.world_model.reads == "image" else 0,
        parameters=sum(weight.shape.num_elements() for weight in weights),
        process_bytes=kernel_bytes(status, "VmHWM"),
        held_bytes=kernel_bytes(status, "VmRSS"),
    )


def _bytes_per_frame(file: pathlib.Path) -> float:
    """Returns the size of an episode's file per frame: random episodes may end early."""
    return file.stat().st_size / int(file.stem.rpartition("-")[2])


def kernel_bytes(text: str, name: str) -> int:
    """Returns what a file of the kernel in /proc gives as 'NAME:  NUMBER kB', in bytes.

    Raises:
      ValueError: if there is no such line.
    """
    found = re.search(rf"^{name}:\s*(\d+) kB$", text, re.MULTILINE)
    if not found:
        raise ValueError(f"there is no {name} in the kernel's file")
    return int(found[1]) * 1024


def memory_bytes(needs: Needs, episodes: int) -> int:
    """Returns the memory of a run that keeps a number of episodes.

    It does not include the processes that `train.environments` above 1 adds.
    """
    frames = episodes * (needs.agent_steps + 1)  # the first has no decision before it
    return needs.process_bytes + math.ceil(frames * needs.frame_bytes)


def disk_bytes(needs: Needs, kept: int, counts: DryRun, chunk_length: int) -> int:
    """Returns the disk space that a run needs at most; it keeps `kept` episodes."""
    parameters = 4 * needs.parameters
    models = 2 * (parameters + _GRAPH_BYTES)  # the old one stays until the new one is complete
    pictures = counts.evaluations * chunk_length * needs.picture_bytes
    logs = counts.episodes * _LOG_BYTES + pictures
    return math.ceil(kept * needs.episode_bytes) + _KEPT * _COPIES * parameters + models + logs


def duration(seconds: float) -> str:
    """Returns a time in words: minutes, hours or days."""
    if seconds < 90:
        return "1 minute"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.{1 if seconds < 36000 else 0}f} hours"
    return f"{seconds / 86400:.{1 if seconds < 864000 else 0}f} days"


def size(count: float) -> str:
    """Returns a number of bytes in words: MB or GB (10^6, 10^9)."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{math.ceil(count / 1e6)} MB"
