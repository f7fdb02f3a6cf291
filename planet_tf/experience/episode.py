"""Aligned episodes: each image with the action and reward that led to it, in one file per episode.

On disk an episode is a compressed .npz; it is read without pickle, so no file is executed.
"""

import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from tf_agents.trajectories import policy_step, time_step as ts, trajectory

from planet_tf import errors, storage

Episode = dict[str, np.ndarray]
"""An aligned episode of T decisions and T+1 frames; see `align`."""

Transition = tuple[ts.TimeStep, policy_step.PolicyStep, ts.TimeStep]

# What reading a file may raise if it holds something else, or is truncated.
_NOT_AN_EPISODE = (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error)
_NOT_OBSERVED = ("action", "reward", "discount", "is_first")


def align(transitions: Sequence[Transition]) -> Episode:
    """Pairs observations with the action and reward that LED TO them; the one place for this.

    A TF-Agents transition holds (observation_t, action_t, reward_{t+1}, observation_{t+1}). PlaNet
    wants step t to be (action_{t-1}, observation_t, reward_t), step 0 having zero action and zero
    reward.

    Args:
      transitions: the T transitions of one episode, unbatched, in order.

    Returns:
      each part of the observation, such as image uint8 [T+1, H, W, C] or state float32 [T+1, N],
      action float32 [T+1, A], reward float32 [T+1], discount float32 [T+1], is_first bool [T+1].

    Raises:
      ValueError: if the transitions are not one episode from its FIRST step on.
    """
    if not transitions or not transitions[0][0].is_first():
        raise ValueError("an episode must begin with a FIRST time step")
    if any(step.is_first() for step, _, _ in transitions[1:]):
        raise ValueError("the transitions hold more than one episode")
    actions = [np.asarray(step.action, np.float32) for _, step, _ in transitions]
    after = [time_step for _, _, time_step in transitions]
    seen = [step.observation for step in (transitions[0][0], *after)]
    return {
        **{key: np.stack([observation[key] for observation in seen]) for key in seen[0]},
        "action": np.stack([np.zeros_like(actions[0]), *actions]),
        "reward": np.array([0.0, *(s.reward for s in after)], np.float32),
        "discount": np.array([1.0, *(s.discount for s in after)], np.float32),
        "is_first": np.arange(len(after) + 1) == 0,
    }


def returns(episodes: Sequence[Episode]) -> np.ndarray:
    """Returns the sum of the rewards of each episode, float64 [N]."""
    return np.array([float(episode["reward"].sum()) for episode in episodes])


def trajectories(episode: Episode) -> Iterator[trajectory.Trajectory]:
    """Yields the T steps of an episode as TF-Agents' driver gave them: the inverse of `align`."""
    last = len(episode["reward"]) - 2
    for t in range(last + 1):
        yield trajectory.Trajectory(
            step_type=np.asarray(ts.StepType.FIRST if t == 0 else ts.StepType.MID),
            observation={k: v[t] for k, v in episode.items() if k not in _NOT_OBSERVED},
            action=episode["action"][t + 1],
            policy_info=(),
            next_step_type=np.asarray(ts.StepType.LAST if t == last else ts.StepType.MID),
            reward=episode["reward"][t + 1],
            discount=episode["discount"][t + 1],
        )


def check(episode: Episode, data_spec) -> None:
    """Checks an episode against the spec of one step.

    Raises:
      ValueError: if a part is missing, has another shape or dtype, or holds NaN.
    """
    if episode.keys() != data_spec.keys():
        raise ValueError(f"an episode has {sorted(data_spec)}, got {sorted(episode)}")
    for key, spec in data_spec.items():
        value = episode[key]
        expected = (len(np.atleast_1d(episode["reward"])), *spec.shape)
        if value.shape != expected or value.dtype != spec.dtype.as_numpy_dtype:
            raise ValueError(
                f"episode[{key!r}] must be {spec.dtype.name} {expected}, "
                f"got {value.dtype} {value.shape}"
            )
        if not np.all(np.isfinite(value)):
            raise ValueError(f"episode[{key!r}] holds NaN or infinity")


def write(episode: Episode, path: str | os.PathLike) -> None:
    """Writes an episode's file whole or not at all; raises StorageError if it cannot."""
    arrays: dict[str, Any] = dict(episode)
    with storage.atomic_file(path) as file:
        np.savez_compressed(file, **arrays)


def read(path: str | os.PathLike, data_spec) -> Episode:
    """Reads an episode's file.

    Args:
      path: an .npz file that `write` wrote.
      data_spec: the spec of one step, see `agents.planet_agent.chunk_spec`.

    Raises:
      ConfigError: if it holds no such episode; the message names the file.
    """
    try:
        episode = _arrays(path)
        check(episode, data_spec)
    except _NOT_AN_EPISODE as error:
        raise errors.ConfigError(f"{os.fspath(path)} is not an episode ({error})") from error
    return episode


def _arrays(path: str | os.PathLike) -> Episode:
    file = np.load(path, allow_pickle=False)
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise ValueError("it holds a bare array")
    with file:
        return {key: file[key] for key in file.files}
