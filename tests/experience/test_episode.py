"""Episodes: each image with the action and reward that led to it, in memory and in files."""

import io

import helpers
import numpy as np
import pytest
import tensorflow as tf
from own_tasks import Counting
from tf_agents.drivers import py_driver
from tf_agents.policies import random_py_policy

from planet_tf import errors
from planet_tf.experience import episode as episodes

pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered in cast")  # TF-Agents'


def test_returns_are_sums_of_rewards():
    rewards = ([0.0, 1.0], [0.0, 1.5, 0.5], [0.0, 6.0])
    found = episodes.returns([{"reward": np.array(each)} for each in rewards])
    assert found.dtype == np.float64 and found.tolist() == [1, 2, 6]


def drive(lengths):
    """Returns the environment, its transitions and TF-Agents' trajectories of them."""
    env, transitions, trajectories = Counting([*lengths, 99]), [], []
    policy = random_py_policy.RandomPyPolicy(env.time_step_spec(), env.action_spec(), seed=3)
    driver = py_driver.PyDriver(
        env,
        policy,
        [trajectories.append],
        [transitions.append],
        max_episodes=len(lengths),
        end_episode_on_boundary=False,
    )
    driver.run(env.reset())
    return env, transitions, trajectories


def episode(frames=4):
    _, transitions, _ = drive([frames - 1])
    return episodes.align(transitions)


def test_an_action_stands_with_what_it_led_to():
    env, transitions, _ = drive([3])
    aligned = episodes.align(transitions)
    actions = np.array(env.actions[0])
    assert {key: (x.shape, x.dtype) for key, x in aligned.items()} == {
        "image": ((4, 2, 2, 3), np.uint8),
        "action": ((4, 2), np.float32),
        "reward": ((4,), np.float32),
        "discount": ((4,), np.float32),
        "is_first": ((4,), np.bool_),
    }
    np.testing.assert_array_equal(aligned["image"][:, 0, 0, 0], [0, 1, 2, 3])
    np.testing.assert_array_equal(aligned["action"], [[0, 0], *actions])
    paid = np.array([100, 200, 300]) + actions @ [10, 1]
    np.testing.assert_allclose(aligned["reward"], [0, *paid], rtol=1e-6)
    np.testing.assert_array_equal(aligned["discount"], np.float32([1, 0.9, 0.9, 0]))
    np.testing.assert_array_equal(aligned["is_first"], [True, False, False, False])


@pytest.mark.parametrize("length", [1, 2, 5])
def test_trajectories_are_the_inverse_of_align(length):
    _, transitions, expected = drive([length])
    found = list(episodes.trajectories(episodes.align(transitions)))
    assert len(found) == length
    for one, two in zip(found, expected, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, two)


def test_transitions_must_be_one_episode():
    _, transitions, _ = drive([3, 3])
    for wrong in ([], transitions[1:3]):
        with pytest.raises(ValueError, match="FIRST"):
            episodes.align(wrong)
    with pytest.raises(ValueError, match="more than one"):
        episodes.align([*transitions[:3], *transitions[:3]])


WRONG = [
    ("image", np.zeros([4, 2, 3, 3], np.uint8)),
    ("image", np.zeros([4, 2, 2, 3], np.float32)),
    ("action", np.zeros([3, 2], np.float32)),
    ("action", np.full([4, 2], np.nan, np.float32)),
    ("reward", np.zeros([4], np.float64)),
    ("reward", np.full([4], np.inf, np.float32)),
    ("discount", None),
    ("further", np.zeros([4])),
]


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_an_episode_of_another_structure_is_refused(key, value):
    wrong = {**episode(), key: value}
    if value is None:
        del wrong[key]
    with pytest.raises(ValueError, match=key):
        episodes.check(wrong, helpers.SPEC)
    episodes.check(episode(), helpers.SPEC)


def test_a_file_gives_back_the_episode(tmp_path):
    episodes.write(episode(), tmp_path / "one.npz")
    helpers.assert_same(episodes.read(tmp_path / "one.npz", helpers.SPEC), episode())
    assert helpers.names(tmp_path) == ["one.npz"]


def flipped(path):
    content = bytearray(path.read_bytes())
    for i in range(100, 140):
        content[i] ^= 255
    path.write_bytes(content)


def bare(path):
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    path.write_bytes(file.getvalue())


def saved(**changes):
    return lambda path: np.savez(path, **{**episode(), **changes})


BAD = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-200]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("nothing"),
    "missing": lambda path: path.unlink(),
    "flipped bytes": flipped,
    "a bare array": bare,
    "pickled": saved(reward=np.array([{}] * 4)),
    "another shape": saved(action=np.zeros([4, 3], np.float32)),
    "no rewards": lambda path: np.savez(path, image=episode()["image"]),
    "scalars": lambda path: np.savez(path, **{key: x[0] for key, x in episode().items()}),
}


@pytest.mark.parametrize("harm", BAD)
def test_a_file_that_holds_no_episode_is_named(tmp_path, harm):
    path = tmp_path / "one.npz"
    episodes.write(episode(), path)
    BAD[harm](path)
    with pytest.raises(errors.ConfigError, match="one.npz"):
        episodes.read(path, helpers.SPEC)
