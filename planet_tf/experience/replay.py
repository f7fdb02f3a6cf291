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

_FEWEST_FRAMES = 2  # of an episode: before and after its only decision


@checks.configurable(denylist=["data_spec", "directory", "read_only"])
class ReplayBuffer(episodic_replay_buffer.EpisodicReplayBuffer):
    """Whole episodes in memory and one file per episode in a directory, from which it is refilled.

    Args:
      data_spec: spec of one step; see `agents.planet_agent.chunk_spec`.
      directory: where the episodes' files are, NNNNNN-FRAMES.npz; created if it is missing.
      capacity: episodes kept, in memory and on disk; beyond it the oldest one is dropped.
      read_only: the directory is another process's: it is left as it is.
    """

    def __init__(
        self,
        data_spec,
        directory: str | os.PathLike,
        capacity: checks.Count = 2000,
        read_only: bool = False,
    ):
        super().__init__(
            data_spec,
            capacity,
            begin_episode_fn=lambda steps: True,
            end_episode_fn=lambda steps: True,
        )
        self._directory, self._read_only = pathlib.Path(directory), read_only
        if not read_only:
            self._directory.mkdir(parents=True, exist_ok=True)
            storage.remove_unfinished(self._directory)
        # One graph for episodes of all lengths: each new one would be traced and kept.
        steps = {k: tf.TensorSpec([None, *spec.shape], spec.dtype) for k, spec in data_spec.items()}
        self._add_fn = tf.function(self._add, input_signature=[steps], autograph=False)
        with tf.device("cpu:0"):
            self._span = tf.Variable([0, 0], trainable=False, dtype=tf.int64)
        self._datasets: dict[tuple, tf.data.Dataset] = {}
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

    def refresh(self) -> int:
        """Adds the episodes that another process has written to the directory since.

        One that cannot be read yet is left for the next call, and so are those after it.

        Returns:
          how many there have ever been.
        """
        for path in self._files():
            if _number(path) == self.num_episodes:
                self._load(path)
        return self.num_episodes

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
            if self._read_only:
                return
            aside = path.with_suffix(".bad")
            path.rename(aside)
            self.moved_aside += 1
            print(f"replay: {error.message}; renamed to {aside.name}", file=sys.stderr)
            return
        self._add_fn(episode)
        self.num_episodes = _number(path) + 1

    # Chunks of them.

    def chunks(
        self,
        seed: int,
        start: int,
        count: int,
        batch_size: int,
        chunk_length: int,
        favour_ends: bool = False,
        machine: tuple[int, int] | None = None,
    ) -> tf.data.Dataset:
        """Returns the batches of updates start, ..., start + count - 1, prefetched.

        The batch of an update depends on `seed`, its number and the buffer's contents alone.
        `machine` (i, N) leaves out all but the batches i, i + N, ...: the others are for other
        machines; and it leaves the copying to a device to `tf.distribute`.
        Exhaust a dataset before the next `add_episode` or `chunks`: prefetching must not race with
        them. For the other arguments see `sample`.
        """
        self._span.assign([start, start + count])
        key = (machine, seed, batch_size, chunk_length, favour_ends)
        if key not in self._datasets:
            self._datasets[key] = self._dataset(*key)
        return self._datasets[key]

    def _dataset(self, machine: tuple[int, int] | None, seed: int, *sizes) -> tf.data.Dataset:
        """Builds the dataset of `chunks` once: tracing it for every fit takes longer."""
        dataset = tf.data.Dataset.from_tensors(0)
        dataset = dataset.flat_map(lambda _: tf.data.Dataset.range(self._span[0], self._span[1]))
        if machine:
            number, machines = machine
            dataset = dataset.shard(machines, number)
        dataset = dataset.map(lambda i: self.sample(tf.stack([seed, tf.cast(i, tf.int32)]), *sizes))
        # tf.data's autotuner takes a thread of the pool that updates compute with: on 2 cores,
        # about every second fit ran on one.
        options = tf.data.Options()
        options.autotune.enabled = False
        dataset = dataset.with_options(options).prefetch(1)
        if runtime.has_gpu() and not machine:  # the next batch is sampled while this one is copied
            return dataset.apply(tf.data.experimental.prefetch_to_device("/gpu:0", 2))
        return dataset

    def sample(
        self,
        seed: tf.Tensor,
        batch_size: int,
        chunk_length: int,
        favour_ends: bool = False,
        across: bool = True,
    ) -> dict[str, tf.Tensor]:
        """Draws chunks: an episode uniformly, then an offset in it uniformly.

        An episode that is shorter than a chunk is taken whole, and further episodes, drawn
        uniformly too, follow from their first frames, where `is_first` is True, until the chunk is
        full.

        Args:
          seed: int32 [2]; the same seed and contents give the same batch.
          batch_size: B.
          chunk_length: L.
          favour_ends: the last frame of an episode is drawn about as often as others: a chunk that
            would begin in the last L frames begins L frames before the end instead. (With uniform
            offsets the last frame is in one chunk of T - L + 1, others are in up to L.)
          across: False: no chunk goes on into another episode; shorter episodes are skipped.

        Returns:
          One batch of the data spec's structure, [B, L, ...].

        Raises:
          tf.errors.InvalidArgumentError: if there is no episode, or none is long enough.
        """
        with tf.device(self._device):
            rows, lengths = self._episodes_of(1 if across else chunk_length)
            draws = seeds.uniform([2, batch_size], seed)
            first = _uniform_index(draws[0], tf.size(rows))
            spare = tf.maximum(tf.gather(lengths, first) - chunk_length, 0)
            starts = tf.gather(lengths, first) if favour_ends else spare + 1
            offsets = tf.minimum(_uniform_index(draws[1], starts), spare)
            followers = (chunk_length - 1) // _FEWEST_FRAMES if across else 0
            draws = seeds.uniform([batch_size, followers], seeds.fold_in(seed, 1))
            picks = tf.concat([first[:, None], _uniform_index(draws, tf.size(rows))], 1)
            picked = tf.gather(lengths, picks)  # [B, 1 + followers], as the next two
            missing = chunk_length - tf.cumsum(picked, 1, exclusive=True)
            counts = tf.minimum(picked, tf.maximum(missing, 0))
            starts = tf.pad(offsets[:, None], [[0, 0], [0, followers]])
            return tf.map_fn(
                lambda pieces: self._chunk(chunk_length, *pieces),
                (tf.gather(rows, picks), starts, counts),
                fn_output_signature={
                    key: tf.TensorSpec([chunk_length, *spec.shape], spec.dtype)
                    for key, spec in self._data_spec.items()
                },
                parallel_iterations=1,
            )

    def _episodes_of(self, frames: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns rows and int32 lengths of episodes with at least `frames`, oldest first."""
        oldest_first = tf.range(1, self._capacity + 1, dtype=tf.int64) + self._last_episode
        oldest_first %= self._capacity
        lengths = tf.cast(tf.gather(self._episode_lengths, oldest_first), tf.int32)
        enough = lengths >= frames
        rows = tf.boolean_mask(oldest_first, enough)
        message = f"no episode in {self._directory} has {frames} frames"
        with tf.control_dependencies([tf.debugging.assert_positive(tf.size(rows), message)]):
            return tf.identity(rows), tf.boolean_mask(lengths, enough)

    def _chunk(self, chunk_length, rows, starts, counts):
        """Returns the frames of a chunk's pieces, one after the other; a count may be 0."""

        def joined():
            frames = tf.map_fn(
                lambda piece: self._frames(*piece),
                tuple(tf.boolean_mask(x, counts > 0) for x in (rows, starts, counts)),
                fn_output_signature={
                    key: tf.RaggedTensorSpec([None, *spec.shape], spec.dtype, ragged_rank=0)
                    for key, spec in self._data_spec.items()
                },
            )
            return {
                key: tf.ensure_shape(frames[key].flat_values, [chunk_length, *spec.shape])
                for key, spec in self._data_spec.items()
            }

        whole = counts[0] == chunk_length  # ragged tensors take three times as long
        return tf.cond(whole, lambda: self._frames(rows[0], starts[0], chunk_length), joined)

    def _frames(self, row, start, count):
        """Returns frames start, ..., start + count - 1 of the episode in a row."""
        indices = start + tf.range(count)
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
