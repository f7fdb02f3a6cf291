"""The replay: whole episodes on the CPU and on disk, chunks of them for training.

The buffer is TF-Agents' EpisodicReplayBuffer. Two things are added: one file per episode, and
sampling that depends on a seed alone. Sampling reads the buffer's table, which has no public
method.

A frame of 64x64 pixels takes 12,288 bytes and, with its action and TensorFlow's bookkeeping, about
14 kB of memory: 1.8 MB for an episode of 125 agent steps (cartpole), 7 MB for one of 500 (walker).
On disk it is compressed. `ReplayBuffer.capacity` bounds both.
"""

import os
import pathlib
import re
import sys
from collections.abc import Iterator

import tensorflow as tf
from tf_agents.replay_buffers import episodic_replay_buffer

from planet_tf import checks, errors, runtime, seeds, storage
from planet_tf.experience import episode as episodes
from planet_tf.experience.episode import Episode


@checks.configurable(denylist=["data_spec", "directory"])
class ReplayBuffer(episodic_replay_buffer.EpisodicReplayBuffer):
    """Whole episodes in memory and one file per episode in a directory, from which it is refilled.

    Args:
      data_spec: spec of one step; see `agents.planet_agent.chunk_spec`.
      directory: where the episodes' files are, NNNNNN-FRAMES.npz; created if it is missing.
      capacity: episodes kept, in memory and on disk; beyond it the oldest one is dropped.
    """

    def __init__(self, data_spec, directory: str | os.PathLike, capacity: checks.Count = 2000):
        super().__init__(
            data_spec,
            capacity,
            begin_episode_fn=lambda steps: True,
            end_episode_fn=lambda steps: True,
        )
        self._directory = pathlib.Path(directory)
        self._directory.mkdir(parents=True, exist_ok=True)
        storage.remove_unfinished(self._directory)
        # One graph for episodes of all lengths: each new one would be traced and kept.
        steps = {k: tf.TensorSpec([None, *spec.shape], spec.dtype) for k, spec in data_spec.items()}
        self._add_fn = tf.function(self._add, input_signature=[steps], autograph=False)
        with tf.device("cpu:0"):
            self._span = tf.Variable([0, 0], trainable=False, dtype=tf.int64)
        self._datasets: dict[tuple[int, int, int], tf.data.Dataset] = {}
        self.num_episodes = 0
        """Episodes ever added, those that were dropped for capacity included."""
        self.moved_aside = 0
        """Files that were not episodes."""
        for path in self._files()[-capacity:]:
            self._load(path)

    # Whole episodes.

    def add_episode(self, episode: Episode) -> None:
        """Writes an episode to disk, whole or not at all, then adds it to the memory.

        Raises:
          ValueError: if a part is missing, has another shape or dtype than the spec, or holds NaN.
          StorageError: if it cannot be written; nothing has been added then.
        """
        episodes.check(episode, self._data_spec)
        path = self._directory / f"{self.num_episodes:06d}-{len(episode['reward'])}.npz"
        episodes.write(episode, path)
        self._add_fn(episode)
        self.num_episodes += 1
        with storage.writing(self._directory):
            for old in self._files()[: -self._capacity]:
                old.unlink()

    def episodes_since(self, number: int) -> Iterator[tuple[int, Episode]]:
        """Reads back from disk the episodes from `number` on; 0 is the first ever added.

        Yields:
          an episode's number, and the episode.
        """
        numbered = ((_number(path), path) for path in self._files())
        return ((n, episodes.read(path, self._data_spec)) for n, path in numbered if n >= number)

    @property
    def longest(self) -> int:
        """Frames of the longest episode in memory; 0: there is none."""
        return int(tf.reduce_max(self._episode_lengths))

    def _add(self, episode):
        return self.add_sequence(episode, self.create_episode_ids())

    def _files(self) -> list[pathlib.Path]:
        return sorted(p for p in self._directory.iterdir() if re.fullmatch(r"\d+-\d+\.npz", p.name))

    def _load(self, path: pathlib.Path) -> None:
        try:
            episode = episodes.read(path, self._data_spec)
        except errors.ConfigError as error:
            aside = path.with_suffix(".bad")
            path.rename(aside)
            self.moved_aside += 1
            print(f"replay: {error.message}; renamed to {aside.name}", file=sys.stderr)
            return
        self._add_fn(episode)
        self.num_episodes = _number(path) + 1

    # Chunks of them.

    def chunks(
        self, seed: int, start: int, count: int, batch_size: int, chunk_length: int
    ) -> tf.data.Dataset:
        """Returns the batches of updates start, ..., start + count - 1, prefetched.

        The batch of an update depends on `seed`, its number and the buffer's contents alone.
        Exhaust a dataset before the next `add_episode` or `chunks`: prefetching must not race with
        them.
        """
        self._span.assign([start, start + count])
        key = (seed, batch_size, chunk_length)
        if key not in self._datasets:
            self._datasets[key] = self._dataset(*key)
        return self._datasets[key]

    def _dataset(self, seed: int, batch_size: int, chunk_length: int) -> tf.data.Dataset:
        """Builds the dataset of `chunks` once: tracing it for every fit takes longer."""
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
        if runtime.has_gpu():
            return dataset.apply(tf.data.experimental.prefetch_to_device("/gpu:0", 2))
        return dataset.prefetch(1)

    def sample(self, seed: tf.Tensor, batch_size: int, chunk_length: int) -> dict[str, tf.Tensor]:
        """Draws chunks: an episode uniformly, then an offset in it uniformly.

        Args:
          seed: int32 [2]; the same seed and contents give the same batch.
          batch_size: B.
          chunk_length: L; shorter episodes are skipped.

        Returns:
          One batch of the data spec's structure, [B, L, ...].

        Raises:
          tf.errors.InvalidArgumentError: if no episode is long enough.
        """
        with tf.device(self._device):
            rows, lengths = self._long_enough(chunk_length)
            draws = seeds.uniform([2, batch_size], seed)
            picks = _uniform_index(draws[0], tf.size(rows))
            spare = tf.cast(tf.gather(lengths, picks) - chunk_length, tf.int32)
            offsets = _uniform_index(draws[1], spare + 1)
            chunks = tf.map_fn(
                lambda at: self._chunk(at[0], at[1], chunk_length),
                (tf.gather(rows, picks), offsets),
                fn_output_signature=tf.nest.map_structure(
                    lambda s: tf.TensorSpec([chunk_length, *s.shape], s.dtype), self._data_spec
                ),
                parallel_iterations=1,
            )
            return tf.nest.map_structure(
                lambda x, s: tf.ensure_shape(x, [batch_size, chunk_length, *s.shape]),
                chunks,
                self._data_spec,
            )

    def _long_enough(self, chunk_length: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the table's rows of episodes that hold a chunk, oldest first; their lengths."""
        oldest_first = tf.range(1, self._capacity + 1, dtype=tf.int64) + self._last_episode
        oldest_first %= self._capacity
        lengths = tf.gather(self._episode_lengths, oldest_first)
        rows = tf.boolean_mask(oldest_first, lengths >= chunk_length)
        message = f"no episode in {self._directory} has the {chunk_length} frames of a chunk"
        with tf.control_dependencies([tf.debugging.assert_positive(tf.size(rows), message)]):
            return tf.identity(rows), tf.gather(self._episode_lengths, rows)

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


def _number(path: pathlib.Path) -> int:
    return int(path.name.split("-")[0])


def _uniform_index(draw: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Maps uniforms in [0, 1) to indices in [0, count)."""
    index = tf.cast(draw * tf.cast(count, tf.float32), tf.int32)
    return tf.minimum(index, count - 1)  # rounding up to count is possible in float32
