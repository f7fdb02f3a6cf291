"""What a run will need of a machine: memory, disk and time.

Arithmetic on the run's settings and on what `doctor` has measured of its first piece.
"""

import math
import pathlib
import re
import statistics
from collections.abc import Mapping
from typing import NamedTuple

_KEPT = 2 + 1  # checkpoints, and the one that is being written
_COPIES = 3  # of the parameters in a checkpoint: Adam has two moments of each
_STEP_BYTES = 300  # of TensorFlow, an array a frame: 64x64 pixels take the 14 kB of `replay`
_GRAPH_BYTES = 1_000_000  # of a SavedModel beside its parameters
_LOG_BYTES = 6_000  # an episode, in TensorBoard's files and scalars.jsonl
_PICTURE_BYTES = 20_000  # a frame of the chunk that TensorBoard gets pictures of, an evaluation


class Needs(NamedTuple):
    """What was measured of a run's first episodes, updates and decisions."""

    agent_steps: float  # an episode
    frame_bytes: int  # of memory, a frame
    episode_bytes: float  # of disk, an episode
    picture_bytes: int  # of disk, a frame of an evaluation's pictures
    parameters: int
    process_bytes: int  # of memory, at most, with next to no episodes
    held_bytes: int  # of memory, by the process that measured
    seconds: tuple[float, float, float] | None  # of an update, a decision and an agent step


def measured(run, seconds: tuple[float, float, float] | None = None) -> Needs:
    """Measures a run, of `benchmark.fresh_run`, that has an episode of each task."""
    status = pathlib.Path("/proc/self/status").read_text()
    files = list((run.root / "episodes" / "train").glob("*.npz"))
    arrays = run.agent.training_data_spec.values()
    weights = run.agent.world_model.trainable_variables
    return Needs(
        agent_steps=statistics.mean(env.max_steps for env in run.tasks.envs),
        frame_bytes=sum(
            array.shape.num_elements() * array.dtype.size + _STEP_BYTES for array in arrays
        ),
        episode_bytes=statistics.mean(file.stat().st_size for file in files),
        picture_bytes=_PICTURE_BYTES if run.agent.world_model.reads == "image" else 0,
        parameters=sum(weight.shape.num_elements() for weight in weights),
        process_bytes=kernel_bytes(status, "VmHWM"),
        held_bytes=kernel_bytes(status, "VmRSS"),
        seconds=seconds,
    )


def kernel_bytes(text: str, name: str) -> int:
    """Returns what a file of the kernel in /proc gives as 'NAME:  NUMBER kB', in bytes.

    Raises:
      ValueError: if it does not give that.
    """
    found = re.search(rf"^{name}:\s*(\d+) kB$", text, re.MULTILINE)
    if not found:
        raise ValueError(f"there is no {name} in the kernel's file")
    return int(found[1]) * 1024


def evaluations(settings: Mapping) -> int:
    """Counts the evaluations of a run: whenever a multiple of their interval is passed; the end."""
    done = evaluated = settings["seed_episodes"]
    count, every = 0, settings["evaluate_every"]
    while done < settings["episodes"]:
        done = min(done + settings["environments"], settings["episodes"])
        if evaluated // every < done // every or done == settings["episodes"]:
            evaluated, count = done, count + 1
    return count


def episodes_kept(settings: Mapping, tasks: int, capacity: int) -> int:
    """Counts the episodes that a run keeps at most; those of evaluations join the held-out ones."""
    evaluated = evaluations(settings) * settings["evaluation_episodes"] * tasks
    heldout = settings["heldout_episodes"] + evaluated
    return min(settings["episodes"], capacity) + min(heldout, capacity)


def memory_bytes(needs: Needs, episodes: int) -> int:
    """Returns the memory of a run that keeps so many episodes.

    That of the processes which `train.environments` above 1 adds is not in it.
    """
    frames = episodes * (needs.agent_steps + 1)  # the first has no decision before it
    return needs.process_bytes + math.ceil(frames * needs.frame_bytes)


def disk_bytes(needs: Needs, episodes: int, settings: Mapping) -> int:
    """Returns the disk that a run needs at most, which keeps so many episodes of those it plays."""
    parameters = 4 * needs.parameters
    models = 2 * (parameters + _GRAPH_BYTES)  # the old one stays until the new one is whole
    pictures = evaluations(settings) * settings["chunk_length"] * needs.picture_bytes
    logs = settings["episodes"] * _LOG_BYTES + pictures
    return math.ceil(episodes * needs.episode_bytes) + _KEPT * _COPIES * parameters + models + logs


def training_seconds(
    settings: Mapping,
    tasks: int,
    agent_steps: float,
    update: float,
    decision: float,
    step: float,
) -> float:
    """Returns the time of a run, whose environments take turns, from that of its parts.

    Args:
      settings: those of `training.train`, by name.
      tasks: how many it learns.
      agent_steps: of an episode.
      update, decision, step: seconds of an update, a decision and an agent step.
    """
    trained = settings["episodes"] - settings["seed_episodes"]
    random = settings["seed_episodes"] + settings["heldout_episodes"]
    planned = evaluations(settings) * settings["evaluation_episodes"] * tasks
    if settings["random_collection"]:
        random += trained
    else:
        planned += trained
    acting = planned * (decision + step) + random * step
    return trained * settings["updates_per_episode"] * update + agent_steps * acting


def duration(seconds: float) -> str:
    """Puts a time into words: minutes, hours or days, whichever fits."""
    if seconds < 90:
        return "1 minute"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.{1 if seconds < 36000 else 0}f} hours"
    return f"{seconds / 86400:.{1 if seconds < 864000 else 0}f} days"


def size(count: float) -> str:
    """Puts a number of bytes into words: MB or GB (10^6, 10^9), whichever fits."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{math.ceil(count / 1e6)} MB"
