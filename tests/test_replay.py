"""Replay: what is paired with what, where chunks lie, and what survives on disk."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from tf_agents.drivers import py_driver
from tf_agents.environments import py_environment
from tf_agents.policies import random_py_policy
from tf_agents.specs import array_spec, tensor_spec
from tf_agents.trajectories import time_step as ts

from planet_tf import environments, evaluation, replay

SPEC = {
    "image": tf.TensorSpec([2, 2, 3], tf.uint8),
    "action": tf.TensorSpec([2], tf.float32),
    "reward": tf.TensorSpec([], tf.float32),
    "discount": tf.TensorSpec([], tf.float32),
    "is_first": tf.TensorSpec([], tf.bool),
}


class Counting(py_environment.PyEnvironment):
    """Images show (step, episode, 0); the reward is 100 * step + 10 * action[0] + action[1]."""

    def __init__(self, lengths):
        super().__init__(handle_auto_reset=True)
        self._lengths, self._episode, self._t = lengths, -1, 0
        self.actions = []

    def action_spec(self):
        return array_spec.BoundedArraySpec([2], np.float32, -1, 1)

    def observation_spec(self):
        return {"image": array_spec.BoundedArraySpec([2, 2, 3], np.uint8, 0, 255)}

    def seed(self, seed):
        pass

    def _image(self):
        return {"image": np.full([2, 2, 3], [self._t, self._episode, 0], np.uint8)}

    def _reset(self):
        self._episode, self._t = self._episode + 1, 0
        self.actions.append([])
        return ts.restart(self._image())

    def _step(self, action):
        self._t += 1
        self.actions[-1].append(action)
        reward = np.float32(100 * self._t + 10 * action[0] + action[1])
        if self._t == self._lengths[self._episode]:
            return ts.termination(self._image(), reward)
        return ts.transition(self._image(), reward, np.float32(0.9))


def random_policy(env):
    return random_py_policy.RandomPyPolicy(env.time_step_spec(), env.action_spec(), seed=3)


def check_aligned(episode, number, actions):
    decisions = len(actions)
    actions = np.array(actions)
    assert {key: (x.shape, x.dtype) for key, x in episode.items()} == {
        "image": ((decisions + 1, 2, 2, 3), np.uint8),
        "action": ((decisions + 1, 2), np.float32),
        "reward": ((decisions + 1,), np.float32),
        "discount": ((decisions + 1,), np.float32),
        "is_first": ((decisions + 1,), np.bool_),
    }
    np.testing.assert_array_equal(episode["image"][:, 0, 0, 0], np.arange(decisions + 1))
    np.testing.assert_array_equal(episode["image"][:, 1, 1, 1], number)
    np.testing.assert_array_equal(episode["action"][0], [0, 0])
    np.testing.assert_array_equal(episode["action"][1:], actions)
    steps = np.arange(1, decisions + 1)
    assert episode["reward"][0] == 0
    np.testing.assert_allclose(
        episode["reward"][1:], 100 * steps + actions @ [10, 1], rtol=1e-6, atol=0
    )
    expected = [1.0] + [np.float32(0.9)] * (decisions - 1) + [0.0]
    np.testing.assert_array_equal(episode["discount"], expected)
    np.testing.assert_array_equal(episode["is_first"], [True] + [False] * decisions)


def episode(number, frames):
    """Image (step, number, 0), action (step, number), reward 1000 * number + step."""
    t = np.arange(frames)
    image = np.stack([t, np.full(frames, number), np.zeros(frames)], -1).astype(np.uint8)
    return {
        "image": np.tile(image[:, None, None], [1, 2, 2, 1]),
        "action": np.stack([t, np.full(frames, number)], -1).astype(np.float32),
        "reward": (1000 * number + t).astype(np.float32),
        "discount": np.ones(frames, np.float32),
        "is_first": t == 0,
    }


def filled(directory, lengths, capacity=100):
    buffer = replay.ReplayBuffer(SPEC, directory, capacity)
    for number, frames in enumerate(lengths):
        buffer.add_episode(episode(number, frames))
    return buffer


def drawn(buffer, seed=0, count=200, length=3):
    """Returns episode numbers and offsets of chunks."""
    sample = tf.function(lambda seed: buffer.sample(seed, count, length)["image"])
    image = sample(tf.constant([seed, 0])).numpy()
    return image[:, 0, 0, 0, 1], image[:, 0, 0, 0, 0]


# Alignment.


def test_an_action_stands_with_the_image_and_the_reward_it_led_to():
    env = Counting([5, 1])
    for number in range(2):
        (run,) = evaluation.run_episodes(env, random_policy(env), [np.random.SeedSequence(0)])
        check_aligned(run, number, env.actions[number])
    assert [len(actions) for actions in env.actions[:2]] == [5, 1]


@pytest.mark.parametrize("lengths", [[4], [4, 1, 2]], ids=["not batched", "batched"])
def test_a_recorder_takes_the_first_episode_of_each_row(in_rows, lengths):
    singles = [Counting([length] * 9) for length in lengths]
    env = in_rows(singles) if len(singles) > 1 else singles[0]
    recorder = replay.EpisodeRecorder()
    driver = py_driver.PyDriver(env, random_policy(env), [], [recorder], max_steps=1)
    step = env.reset()
    for _ in range(4):
        assert not recorder.complete and recorder.episodes == []
        step, _ = driver.run(step)
    for _ in range(3):
        assert recorder.complete
        for run, single in zip(recorder.episodes, singles, strict=True):
            check_aligned(run, 0, single.actions[0])
        step, _ = driver.run(step)  # is passed over


def test_what_is_not_one_episode_is_refused():
    env, transitions = Counting([3, 3]), []
    driver = py_driver.PyDriver(
        env, random_policy(env), [], [transitions.append], max_steps=6, max_episodes=2
    )
    driver.run(env.reset())
    for wrong in ([], transitions[1:3]):
        with pytest.raises(ValueError, match="FIRST"):
            replay.align(wrong)
    with pytest.raises(ValueError, match="more than one episode"):
        replay.align([*transitions[:3], *transitions[:3]])


@pytest.mark.parametrize("observations", [("state",), ("image", "state")])
def test_whatever_is_observed_goes_through_files_to_chunks(tmp_path, observations):
    env = environments.load("cartpole_swingup", seed=0, observations=observations)
    seen = []
    step = env._step
    env._step = lambda action: seen.append(step(action)) or seen[-1]
    spec = {**SPEC, "action": tf.TensorSpec([1], tf.float32)}
    del spec["image"]
    spec |= tensor_spec.from_spec(env.observation_spec())
    (run,) = evaluation.run_episodes(env, random_policy(env), [np.random.SeedSequence(2)])
    env.close()
    assert run.keys() == spec.keys()
    for key in observations:
        np.testing.assert_array_equal(run[key][1:], [step.observation[key] for step in seen])
    replay.ReplayBuffer(spec, tmp_path).add_episode(run)
    again = replay.ReplayBuffer(spec, tmp_path)
    assert again.num_episodes == 1
    frames = len(run["reward"])
    chunk = again.sample(tf.constant([0, 0]), 1, frames)
    for key, value in run.items():
        assert chunk[key].dtype == value.dtype
        np.testing.assert_array_equal(chunk[key][0], value)


# Sampling.


def test_chunks_are_whole_and_lie_in_one_episode(tmp_path):
    buffer = filled(tmp_path, [4, 9, 5])
    chunks = buffer.sample(tf.constant([1, 2]), 200, 4)
    assert set(chunks) == set(SPEC)
    for key, spec in SPEC.items():
        assert chunks[key].shape == [200, 4, *spec.shape] and chunks[key].dtype == spec.dtype
    image = chunks["image"].numpy()
    number, step = image[:, :, 0, 0, 1].astype(int), image[:, :, 0, 0, 0].astype(int)
    assert np.all(number == number[:, :1])
    np.testing.assert_array_equal(step, step[:, :1] + np.arange(4))
    np.testing.assert_array_equal(chunks["action"], np.stack([step, number], -1))
    np.testing.assert_array_equal(chunks["reward"], 1000 * number + step)
    np.testing.assert_array_equal(chunks["is_first"], step == 0)
    last = {n: step[number[:, 0] == n].max() for n in range(3)}
    assert last == {0: 3, 1: 8, 2: 4}  # the last frames are reached


def test_episodes_then_offsets_are_uniform(tmp_path):
    lengths = [7, 5, 2, 24, 10]  # chunks of 5: offsets 3, 1, none, 20, 6
    number, offset = drawn(filled(tmp_path, lengths), seed=4, count=6000, length=5)
    counts = np.bincount(number, minlength=5)
    assert counts[2] == 0
    assert stats.chisquare(counts[[0, 1, 3, 4]]).pvalue > 0.01
    for n, offsets in ((0, 3), (3, 20), (4, 6)):
        seen = np.bincount(offset[number == n], minlength=offsets)
        assert len(seen) == offsets
        assert stats.chisquare(seen).pvalue > 0.01
    assert np.all(offset[number == 1] == 0)


def test_no_episode_is_long_enough(tmp_path):
    for directory, lengths in ((tmp_path / "short", [4, 3]), (tmp_path / "empty", [])):
        with pytest.raises(tf.errors.InvalidArgumentError, match="no episode in .* the 5 frames"):
            filled(directory, lengths).sample(tf.constant([0, 0]), 2, 5)


def test_a_seed_and_the_contents_decide_a_batch(tmp_path):
    one, two = filled(tmp_path / "1", [9, 8, 7]), filled(tmp_path / "2", [9, 8, 7])
    np.testing.assert_array_equal(drawn(one, seed=5), drawn(two, seed=5))
    np.testing.assert_array_equal(drawn(one, seed=5), drawn(one, seed=5))
    assert not np.array_equal(drawn(one, seed=5), drawn(one, seed=6))


def test_a_refilled_buffer_draws_what_the_old_one_would_have(tmp_path):
    for name, count in (("below", 3), ("beyond", 5)):
        buffer = filled(tmp_path / name, [9] * count, capacity=4)
        again = replay.ReplayBuffer(SPEC, tmp_path / name, 4)
        np.testing.assert_array_equal(drawn(buffer), drawn(again), err_msg=f"{name} capacity")


def test_the_dataset_gives_the_batches_of_the_updates_asked_for(tmp_path):
    buffer = filled(tmp_path, [9, 8, 7])
    batches = list(buffer.chunks(seed=11, start=3, count=4, batch_size=5, chunk_length=6))
    assert len(batches) == 4
    for i, batch in enumerate(batches):
        expected = buffer.sample(tf.constant([11, 3 + i]), 5, 6)
        tf.nest.map_structure(np.testing.assert_array_equal, batch, expected)
    assert not np.array_equal(batches[0]["reward"], batches[1]["reward"])


# Memory and disk.


def test_the_oldest_episodes_go(tmp_path):
    buffer = filled(tmp_path, [6, 7, 8, 9, 5], capacity=3)
    assert buffer.num_episodes == 5
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["000002-8.npz", "000003-9.npz", "000004-5.npz"]
    number, _ = drawn(buffer)
    assert set(number) == {2, 3, 4}


def test_it_is_refilled_from_disk_and_the_numbers_go_on(tmp_path):
    filled(tmp_path, [6, 7, 8, 9, 5], capacity=3)
    again = replay.ReplayBuffer(SPEC, tmp_path, 3)
    assert again.num_episodes == 5
    assert set(drawn(again)[0]) == {2, 3, 4}
    since = list(again.episodes_since(3))
    assert [(number, len(one["reward"])) for number, one in since] == [(3, 9), (4, 5)]
    for key, value in episode(3, 9).items():
        np.testing.assert_array_equal(since[0][1][key], value)
    again.add_episode(episode(5, 6))
    assert set(drawn(again)[0]) == {3, 4, 5}
    assert sorted(p.name for p in tmp_path.iterdir())[-1] == "000005-6.npz"
    fewer = replay.ReplayBuffer(SPEC, tmp_path, 2)  # a lower capacity: the newest are taken
    assert set(drawn(fewer)[0]) == {4, 5}


def _flip(path):
    content = bytearray(path.read_bytes())
    for i in range(100, 140):
        content[i] ^= 255
    path.write_bytes(content)


def _npy(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


BAD = {
    "torn": lambda path: path.write_bytes(path.read_bytes()[:-200]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("nothing"),
    "flipped bytes": _flip,
    "one array": _npy,
    "pickled": lambda path: np.savez(path, **{**episode(1, 7), "reward": np.array([{}] * 7)}),
    "of another shape": lambda path: np.savez(
        path, **{**episode(1, 7), "action": np.zeros([7, 3], np.float32)}
    ),
    "without rewards": lambda path: np.savez(
        path, **{key: x for key, x in episode(1, 7).items() if key != "reward"}
    ),
    "of scalars": lambda path: np.savez(path, **{key: x[0] for key, x in episode(1, 7).items()}),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_moved_aside_and_named(tmp_path, capsys, kind):
    filled(tmp_path, [6, 7, 8])
    path = tmp_path / "000001-7.npz"
    BAD[kind](path)
    content = path.read_bytes()
    again = replay.ReplayBuffer(SPEC, tmp_path, 100)
    assert str(path) in capsys.readouterr().err
    assert not path.exists() and path.with_suffix(".bad").read_bytes() == content
    assert again.num_episodes == 3
    assert set(drawn(again)[0]) == {0, 2}


def test_a_file_with_a_name_of_its_own_is_left_alone(tmp_path):
    filled(tmp_path, [6, 7])
    alien = tmp_path / "my-copy.npz"
    alien.write_bytes((tmp_path / "000001-7.npz").read_bytes())
    again = replay.ReplayBuffer(SPEC, tmp_path, 100)
    assert again.num_episodes == 2
    again.add_episode(episode(2, 8))
    assert set(drawn(again)[0]) == {0, 1, 2}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image", np.zeros([6, 2, 3, 3], np.uint8)),
        ("image", np.zeros([6, 2, 2, 3], np.float32)),
        ("action", np.zeros([5, 2], np.float32)),
        ("reward", np.zeros([6], np.float64)),
        ("discount", None),
    ],
)
def test_an_episode_of_another_structure_is_refused(tmp_path, key, value):
    buffer = filled(tmp_path, [6])
    wrong = episode(1, 6)
    if value is None:
        del wrong[key]
    else:
        wrong[key] = value
    with pytest.raises(ValueError, match=key):
        buffer.add_episode(wrong)
    assert buffer.num_episodes == 1
    assert [path.name for path in tmp_path.iterdir()] == ["000000-6.npz"]
