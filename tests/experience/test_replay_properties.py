"""Replay under any sequence of additions, kills, harm, reloads and samples."""

import pathlib
import shutil
import tempfile

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import stateful, strategies

from planet_tf.experience import ReplayBuffer

SPEC = {
    "image": tf.TensorSpec([1, 1, 3], tf.uint8),
    "action": tf.TensorSpec([1], tf.float32),
    "reward": tf.TensorSpec([], tf.float32),
    "discount": tf.TensorSpec([], tf.float32),
    "is_first": tf.TensorSpec([], tf.bool),
}
FRAMES = strategies.integers(2, 9)


def episode(name, frames):
    """Shows (step, name, frames); the action is the step, the reward 100 * name + step."""
    steps = np.arange(frames)
    image = np.stack([steps, np.full(frames, name), np.full(frames, frames)], -1)
    return {
        "image": image[:, None, None].astype(np.uint8),
        "action": steps[:, None].astype(np.float32),
        "reward": (100 * name + steps).astype(np.float32),
        "discount": (steps < frames - 1).astype(np.float32),
        "is_first": steps == 0,
    }


class Replay(stateful.RuleBasedStateMachine):
    """Keeps a list of what must be there: (number of the file, name, frames)."""

    def __init__(self):
        super().__init__()
        self.directory = pathlib.Path(tempfile.mkdtemp())
        self.kept = []
        self.names = 0

    def teardown(self):
        shutil.rmtree(self.directory)

    @stateful.initialize(capacity=strategies.sampled_from([1, 3, 50]))
    def open(self, capacity):
        self.capacity = capacity
        self.buffer = ReplayBuffer(SPEC, self.directory, capacity)

    def files(self):
        return sorted(self.directory.glob("*.npz"))

    @stateful.rule(frames=FRAMES)
    def add(self, frames):
        number = self.buffer.num_episodes
        self.buffer.add_episode(episode(self.names, frames))
        self.kept = [*self.kept, (number, self.names, frames)][-self.capacity :]
        self.names += 1

    @stateful.rule()
    def reload(self):
        self.buffer = ReplayBuffer(SPEC, self.directory, self.capacity)

    @stateful.rule(frames=FRAMES, part=strategies.floats(0, 0.99))
    def is_killed_while_it_adds(self, frames, part):
        path = self.directory / f"{self.buffer.num_episodes:06d}-{frames}.npz.tmp"
        np.savez_compressed(path.open("wb"), **episode(self.names, frames))
        path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
        self.reload()
        assert not list(self.directory.glob("*.tmp"))

    @stateful.precondition(lambda self: self.kept)
    @stateful.rule(data=strategies.data(), byte=strategies.integers(0, 10**6))
    def a_file_is_truncated(self, data, byte):
        number, name, frames = data.draw(strategies.sampled_from(self.kept))
        path = self.directory / f"{number:06d}-{frames}.npz"
        path.write_bytes(path.read_bytes()[: byte % path.stat().st_size])
        self.reload()
        self.kept.remove((number, name, frames))
        assert not path.exists() and self.buffer.moved_aside == 1

    @stateful.rule()
    def a_file_of_the_user_appears(self):
        (self.directory / "notes-1.npz").write_text("mine")
        self.reload()
        assert (self.directory / "notes-1.npz").read_text() == "mine"
        (self.directory / "notes-1.npz").unlink()

    @stateful.rule(length=strategies.integers(1, 9), seed=strategies.integers(0, 1000))
    def sample(self, length, seed):
        names = {name: frames for _, name, frames in self.kept if frames >= length}
        if not names:
            with np.testing.assert_raises(tf.errors.InvalidArgumentError):
                self.buffer.sample(tf.constant([seed, 0]), 4, length)
            return
        batch = self.buffer.sample(tf.constant([seed, 0]), 4, length)
        chunks = {key: value.numpy() for key, value in batch.items()}
        again = self.buffer.sample(tf.constant([seed, 0]), 4, length)
        for i, image in enumerate(chunks["image"]):
            first, name, frames = image[0, 0, 0]
            whole = episode(int(name), names[name])
            assert frames == names[name]
            for key, value in whole.items():
                np.testing.assert_array_equal(chunks[key][i], value[first : first + length])
                np.testing.assert_array_equal(chunks[key][i], again[key][i])

    @stateful.invariant()
    def every_complete_episode_is_there(self):
        if not hasattr(self, "buffer"):
            return
        assert [int(path.name.split("-")[0]) for path in self.files()] == [n for n, *_ in self.kept]
        read = list(self.buffer.episodes_since(0))
        assert [number for number, _ in read] == [number for number, *_ in self.kept]
        for (_, got), (_, name, frames) in zip(read, self.kept, strict=True):
            for key, value in episode(name, frames).items():
                np.testing.assert_array_equal(got[key], value)
        assert self.buffer.num_frames() == sum(frames for *_, frames in self.kept)


SETTINGS = hypothesis.settings(
    max_examples=3, stateful_step_count=12, deadline=None, derandomize=True, print_blob=False
)


class TestReplay(Replay.TestCase):
    settings = SETTINGS


@pytest.mark.faults
class TestReplayForLonger(Replay.TestCase):
    settings = hypothesis.settings(SETTINGS, max_examples=50, derandomize=False)
