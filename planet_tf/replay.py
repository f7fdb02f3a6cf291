"""Experience: whole episodes on the CPU and on disk, chunks of them for training.

The buffer is TF-Agents' EpisodicReplayBuffer; what is added here is the alignment of actions with
the observations they led to, one file an episode, and sampling that depends on a seed alone.

Costs: a frame of 64x64 pixels takes 12,288 bytes and, with its action and TensorFlow's bookkeeping,
about 14 kB of memory, so that an episode of 125 agent steps (cartpole) is 1.8 MB and one of 500
(walker) 7 MB; on disk it is compressed. `ReplayBuffer.capacity` bounds both: beyond it the oldest
episode goes.
"""

import os
import pathlib
import re
import sys
import zipfile
import zlib
from collections.abc import Iterator, Sequence

import gin
import numpy as np
import tensorflow as tf
from tf_agents.replay_buffers import episodic_replay_buffer
from tf_agents.trajectories import policy_step, time_step as ts
from tf_agents.utils import nest_utils

from planet_tf import files

Episode = dict[str, np.ndarray]
"""An aligned episode of T decisions and T+1 frames; see `align`."""

# What reading a file may raise that holds something else, or less.
_NOT_AN_EPISODE = (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error)

Transition = tuple[ts.TimeStep, policy_step.PolicyStep, ts.TimeStep]


def align(transitions: Sequence[Transition]) -> Episode:
    """Pairs observations with the action and reward that LED TO them; the one place this is done.

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


class EpisodeRecorder:
    """A transition observer for TF-Agents drivers: the first episode of each row of a batch.

    Rows may end at different times: what a row does after its first episode is passed over. An
    environment that is not batched is one row.

    Raises:
      FloatingPointError: for an observation or a reward that is NaN or infinite.
    """

    def __init__(self) -> None:
        self._rows: list[list[Transition]] = []

    def __call__(self, transition: Transition) -> None:
        """Takes one transition, batched or not, in order."""
        rows = _rows(transition)
        if not self._rows:
            self._rows = [[] for _ in rows]
        for gathered, row in zip(self._rows, rows, strict=True):
            if not _is_over(gathered):
                before, _, after = row
                for time_step in (after,) if gathered else (before, after):
                    _check_finite(time_step)
                gathered.append(row)

    @property
    def complete(self) -> bool:
        """Whether every row has ended an episode."""
        return bool(self._rows) and all(map(_is_over, self._rows))

    @property
    def episodes(self) -> list[Episode]:
        """The rows' episodes, in the rows' order; none before all are complete."""
        return [align(row) for row in self._rows] if self.complete else []


def _rows(transition: Transition) -> list[Transition]:
    """Takes a transition apart into those of its rows, without what `align` has no use for."""
    before, step, after = transition
    transition = before, policy_step.PolicyStep(step.action), after
    if not np.ndim(before.step_type):
        return [transition]
    return nest_utils.unstack_nested_arrays(tf.nest.map_structure(np.asarray, transition))


def _check_finite(time_step: ts.TimeStep) -> None:
    for name, value in nest_utils.flatten_with_joined_paths(time_step):
        if not np.all(np.isfinite(value)):
            raise FloatingPointError(f"{name} is NaN or infinite")


def _is_over(transitions: Sequence[Transition]) -> bool:
    return bool(transitions) and bool(transitions[-1][2].is_last())


@gin.configurable(module="planet_tf", denylist=["data_spec", "directory"])
class ReplayBuffer(episodic_replay_buffer.EpisodicReplayBuffer):
    """Whole episodes in memory and one file an episode in a directory, refilled from it on start.

    Args:
      data_spec: spec of one step; see `agent.chunk_spec`.
      directory: where the episodes' files are, NNNNNN-FRAMES.npz; made if it is missing.
      capacity: episodes kept, in memory and on disk.
    """

    def __init__(self, data_spec, directory: str | os.PathLike, capacity: int = 2000):
        if capacity < 1:
            raise ValueError(f"ReplayBuffer.capacity must be at least 1, got {capacity}")
        super().__init__(
            data_spec,
            capacity,
            begin_episode_fn=lambda steps: True,
            end_episode_fn=lambda steps: True,
        )
        self._directory = pathlib.Path(directory)
        self._directory.mkdir(parents=True, exist_ok=True)
        files.remove_unfinished(self._directory)
        # One graph for episodes of all lengths: each new one would be traced and kept.
        steps = {
            key: tf.TensorSpec([None, *spec.shape], spec.dtype) for key, spec in data_spec.items()
        }
        self._add_fn = tf.function(self._add, input_signature=[steps], autograph=False)
        with tf.device("cpu:0"):
            self._span = tf.Variable([0, 0], trainable=False, dtype=tf.int64)
        self._datasets: dict[tuple[int, int, int], tf.data.Dataset] = {}
        self.num_episodes = 0
        """Episodes ever added, those that were dropped for capacity included."""
        self.moved_aside = 0
        """Files that were found to hold no episode."""
        for path in self._files()[-capacity:]:
            self._load(path)

    def add_episode(self, episode: Episode) -> None:
        """Writes an episode to disk (whole or not at all), then adds it to the memory.

        Raises:
          ValueError: if a part is missing, has another shape or dtype than the spec, or holds NaN.
          StorageError: if it cannot be written; nothing has been added then.
        """
        check(episode, self._data_spec)
        path = self._directory / f"{self.num_episodes:06d}-{len(episode['reward'])}.npz"
        with files.written_whole(path) as file:
            np.savez_compressed(file, **episode)
        self._add_fn(episode)
        self.num_episodes += 1
        with files.writing(self._directory):
            for old in self._files()[: -self._capacity]:
                old.unlink()

    def episodes_since(self, number: int) -> Iterator[tuple[int, Episode]]:
        """Reads back from disk the episodes from `number` on; 0 is the first ever added.

        Yields:
          an episode's number, and the episode.
        """
        numbered = ((_number(path), path) for path in self._files())
        return ((n, _read(path)) for n, path in numbered if n >= number)

    @property
    def longest(self) -> int:
        """Frames of the longest episode in memory; 0: there is none."""
        return int(tf.reduce_max(self._episode_lengths))

    def sample(self, seed: tf.Tensor, batch_size: int, chunk_length: int) -> dict[str, tf.Tensor]:
        """Draws chunks: an episode uniformly, then an offset in it uniformly.

        Args:
          seed: int32 [2]; the same seed and contents give the same batch.
          batch_size: B.
          chunk_length: L; shorter episodes are passed over.

        Returns:
          One batch of the data spec's structure, [B, L, ...].

        Raises:
          tf.errors.InvalidArgumentError: if no episode is long enough.
        """
        with tf.device(self._device):
            # From the oldest episode to the newest, wherever in the table it is.
            oldest_first = tf.range(1, self._capacity + 1, dtype=tf.int64) + self._last_episode
            oldest_first %= self._capacity
            long_enough = tf.gather(self._episode_lengths, oldest_first) >= chunk_length
            rows = tf.boolean_mask(oldest_first, long_enough)
            count = tf.size(rows)
            message = f"no episode in {self._directory} has the {chunk_length} frames of a chunk"
            with tf.control_dependencies([tf.debugging.assert_positive(count, message)]):
                draws = tf.random.stateless_uniform([2, batch_size], seed, alg="philox")
            rows = tf.gather(rows, _uniform_index(draws[0], count))
            spare = tf.gather(self._episode_lengths, rows) - chunk_length
            offsets = _uniform_index(draws[1], tf.cast(spare, tf.int32) + 1)
            spec = self._data_spec
            chunks = tf.map_fn(
                lambda at: self._chunk(at[0], at[1], chunk_length),
                (rows, offsets),
                fn_output_signature=tf.nest.map_structure(
                    lambda s: tf.TensorSpec([chunk_length, *s.shape], s.dtype), spec
                ),
                parallel_iterations=1,
            )
            return tf.nest.map_structure(
                lambda x, s: tf.ensure_shape(x, [batch_size, chunk_length, *s.shape]), chunks, spec
            )

    def chunks(
        self, seed: int, start: int, count: int, batch_size: int, chunk_length: int
    ) -> tf.data.Dataset:
        """Returns the batches of updates start, ..., start + count - 1, prefetched.

        The batch of an update depends on `seed`, its number and the buffer's contents alone. Use up
        a dataset before the next `add_episode` or `chunks`: prefetching must not race with them.
        """
        self._span.assign([start, start + count])
        key = (seed, batch_size, chunk_length)
        if key not in self._datasets:
            self._datasets[key] = self._chunks(*key)
        return self._datasets[key]

    def _chunks(self, seed: int, batch_size: int, chunk_length: int) -> tf.data.Dataset:
        """Builds the dataset of `chunks`, once: tracing it anew for every fit takes longer."""
        dataset = tf.data.Dataset.from_tensors(0)
        dataset = dataset.flat_map(lambda _: tf.data.Dataset.range(self._span[0], self._span[1]))
        dataset = dataset.map(
            lambda i: self.sample(tf.stack([seed, tf.cast(i, tf.int32)]), batch_size, chunk_length)
        )
        # tf.data's autotuner takes a thread of the pool that updates compute with: on 2 cores,
        # about every second fit ran on one.
        options = tf.data.Options()
        options.autotune.enabled = False
        dataset = dataset.with_options(options)
        if tf.config.list_logical_devices("GPU"):
            return dataset.apply(tf.data.experimental.prefetch_to_device("/gpu:0", 2))
        return dataset.prefetch(1)

    def _chunk(self, row, offset, chunk_length):
        indices = offset + tf.range(chunk_length)
        return tf.nest.map_structure(
            lambda steps, spec: tf.raw_ops.TensorListGather(
                input_handle=steps,
                indices=indices,
                element_shape=spec.shape,
                element_dtype=spec.dtype,
            ),
            self._data_table.get_episode_lists(row),
            self._data_spec,
        )

    def _add(self, episode):
        return self.add_sequence(episode, self.create_episode_ids())

    def _files(self) -> list[pathlib.Path]:
        return sorted(p for p in self._directory.iterdir() if re.fullmatch(r"\d+-\d+\.npz", p.name))

    def _load(self, path: pathlib.Path) -> None:
        try:
            episode = read_episode(path, self._data_spec)
        except ValueError as error:
            aside = path.with_suffix(".bad")
            path.rename(aside)
            self.moved_aside += 1
            print(f"replay: {error}; kept as {aside.name}", file=sys.stderr)
            return
        self._add_fn(episode)
        self.num_episodes = _number(path) + 1


def read_episode(path: str | os.PathLike, data_spec) -> Episode:
    """Reads an episode's file.

    Args:
      path: an .npz file that a ReplayBuffer wrote.
      data_spec: the spec of one step, see `agent.chunk_spec`.

    Raises:
      ValueError: if it holds no such episode; the message names the file.
    """
    try:
        episode = _read(path)
        check(episode, data_spec)
    except _NOT_AN_EPISODE as error:
        raise ValueError(f"{os.fspath(path)} is no episode ({error})") from error
    return episode


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


def _number(path: pathlib.Path) -> int:
    return int(path.name.split("-")[0])


def _read(path: str | os.PathLike) -> Episode:
    file = np.load(path, allow_pickle=False)
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise ValueError("it holds a bare array")
    with file:
        return {key: file[key] for key in file.files}


def _uniform_index(draw: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Maps uniforms in [0, 1) to indices in [0, count)."""
    index = tf.cast(draw * tf.cast(count, tf.float32), tf.int32)
    return tf.minimum(index, count - 1)  # rounding up to count is possible in float32
