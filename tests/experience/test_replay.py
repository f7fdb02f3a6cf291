"""Replay: where chunks lie, what is drawn, and what survives on disk."""

import helpers
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from tf_agents.specs import tensor_spec

from planet_tf import environments, errors
from planet_tf.experience import ReplayBuffer, UniformPolicy, run_episodes


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
    buffer = ReplayBuffer(helpers.SPEC, directory, capacity)
    for number, frames in enumerate(lengths):
        buffer.add_episode(episode(number, frames))
    return buffer


def drawn(buffer, seed=0, count=200, length=3):
    """Returns episode numbers and offsets of chunks."""
    if not hasattr(buffer, "traced"):
        buffer.traced = tf.function(
            lambda seed, count: buffer.sample(seed, count, length)["image"], autograph=False
        )
    image = buffer.traced(tf.constant([seed, 0]), count).numpy()
    return image[:, 0, 0, 0, 1], image[:, 0, 0, 0, 0]


def sample(buffer, seed, *sizes, **settings):
    """Draws chunks in a graph, which for many is faster than eagerly."""

    @tf.function(autograph=False)
    def traced():
        return buffer.sample(tf.constant(seed), *sizes, **settings)

    return traced()


# Sampling.


def test_chunks_lie_within_one_episode(tmp_path):
    buffer = filled(tmp_path, [4, 9, 5])
    chunks = buffer.sample(tf.constant([1, 2]), 60, 4)
    assert set(chunks) == set(helpers.SPEC)
    for key, spec in helpers.SPEC.items():
        assert chunks[key].shape == [60, 4, *spec.shape] and chunks[key].dtype == spec.dtype
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
    lengths = [7, 5, 2, 24, 10]  # chunks of 5: offsets 3, 1, whole, 20, 6
    number, offset = drawn(filled(tmp_path, lengths), seed=4, count=6000, length=5)
    assert stats.chisquare(np.bincount(number, minlength=5)).pvalue > 0.01
    for n, offsets in ((0, 3), (3, 20), (4, 6)):
        seen = np.bincount(offset[number == n], minlength=offsets)
        assert len(seen) == offsets
        assert stats.chisquare(seen).pvalue > 0.01
    assert np.all(offset[(number == 1) | (number == 2)] == 0)


def test_after_a_short_episode_others_follow_from_their_first_frames(tmp_path):
    lengths = [3, 2, 40]
    chunks = sample(filled(tmp_path, lengths), [7, 1], 2000, 8)
    number, step = (chunks["action"].numpy()[..., i].astype(int) for i in (1, 0))
    np.testing.assert_array_equal(chunks["is_first"], step == 0)
    np.testing.assert_array_equal(chunks["reward"], 1000 * number + step)
    followers = []
    for n, t in zip(number, step, strict=True):
        at = 0
        while at < 8:
            taken = min(lengths[n[at]], 8 - at)
            assert np.all(n[at : at + taken] == n[at])  # whole, unless the chunk is full
            np.testing.assert_array_equal(t[at : at + taken], t[at] + np.arange(taken))
            assert t[at] == 0 or (at == 0 and n[0] == 2)
            followers += [n[at]] if at else []
            at += taken
    assert stats.chisquare(np.bincount(followers, minlength=3)).pvalue > 0.01


def test_ends_are_drawn_as_often_as_other_frames_if_they_are_favoured(tmp_path):
    buffer = filled(tmp_path, [20])
    counts = {}
    for favour in (False, True):
        chunks = sample(buffer, [1, 1], 4000, 5, favour_ends=favour)
        steps = chunks["action"].numpy()[..., 0].astype(int)
        np.testing.assert_array_equal(steps, steps[:, :1] + np.arange(5))
        counts[favour] = np.bincount(steps.ravel(), minlength=20) / 4000
    # 16 offsets, of which frame 10 is in 5 and the last one in 1; or 20, in 5 each.
    np.testing.assert_allclose(counts[False][[10, 19]], [5 / 16, 1 / 16], atol=0.03)
    np.testing.assert_allclose(counts[True][[10, 19]], [5 / 20, 5 / 20], atol=0.03)


def test_long_episodes_are_drawn_as_without_the_short_ones_following(tmp_path):
    buffer = filled(tmp_path, [9, 5, 17])
    helpers.assert_same(
        *(sample(buffer, [3, 1], 200, 5, across=across) for across in (True, False))
    )


def test_chunks_of_one_episode_skip_short_ones(tmp_path):
    chunks = sample(filled(tmp_path / "mixed", [4, 9]), [0, 0], 50, 5, across=False)
    assert np.all(chunks["action"].numpy()[..., 1] == 1)
    for across, lengths, frames in ((False, [4, 3], 5), (True, [], 1), (False, [], 5)):
        buffer = filled(tmp_path / f"{across}{len(lengths)}", lengths)
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"has {frames} frames"):
            buffer.sample(tf.constant([0, 0]), 2, 5, across=across)


def test_a_seed_and_the_contents_decide_a_batch(tmp_path):
    one, two = filled(tmp_path / "1", [9, 8, 7]), filled(tmp_path / "2", [9, 8, 7])
    np.testing.assert_array_equal(drawn(one, seed=5), drawn(two, seed=5))
    np.testing.assert_array_equal(drawn(one, seed=5), drawn(one, seed=5))
    assert not np.array_equal(drawn(one, seed=5), drawn(one, seed=6))


def test_a_refilled_buffer_draws_the_same_chunks(tmp_path):
    for name, count in (("below", 3), ("beyond", 5)):
        buffer = filled(tmp_path / name, [9] * count, capacity=4)
        again = ReplayBuffer(helpers.SPEC, tmp_path / name, 4)
        np.testing.assert_array_equal(drawn(buffer), drawn(again), err_msg=f"{name} capacity")


def test_chunks_are_the_batches_of_the_updates(tmp_path):
    buffer = filled(tmp_path, [9, 8, 7])
    batches = list(buffer.chunks(seed=11, start=3, count=4, batch_size=5, chunk_length=6))
    assert len(batches) == 4
    for i, batch in enumerate(batches):
        expected = buffer.sample(tf.constant([11, 3 + i]), 5, 6)
        tf.nest.map_structure(np.testing.assert_array_equal, batch, expected)
    assert not np.array_equal(batches[0]["reward"], batches[1]["reward"])


# Memory and disk.


def test_the_oldest_episodes_are_dropped(tmp_path):
    buffer = filled(tmp_path, [6, 7, 8, 9, 5], capacity=3)
    assert buffer.num_episodes == 5
    assert helpers.names(tmp_path) == ["000002-8.npz", "000003-9.npz", "000004-5.npz"]
    number, _ = drawn(buffer)
    assert set(number) == {2, 3, 4}


def test_it_is_refilled_from_disk_and_numbers_continue(tmp_path):
    filled(tmp_path, [6, 7, 8, 9, 5], capacity=3)
    again = ReplayBuffer(helpers.SPEC, tmp_path, 3)
    assert again.num_episodes == 5
    assert set(drawn(again)[0]) == {2, 3, 4}
    since = list(again.episodes_since(3))
    assert [(number, len(one["reward"])) for number, one in since] == [(3, 9), (4, 5)]
    helpers.assert_same(since[0][1], episode(3, 9))
    again.add_episode(episode(5, 6))
    assert set(drawn(again)[0]) == {3, 4, 5}
    assert helpers.names(tmp_path)[-1] == "000005-6.npz"
    fewer = ReplayBuffer(helpers.SPEC, tmp_path, 2)  # a lower capacity: the newest are taken
    assert set(drawn(fewer)[0]) == {4, 5}


def test_a_bad_file_is_renamed_and_reported(tmp_path, capsys):
    filled(tmp_path, [6, 7, 8])
    path = tmp_path / "000001-7.npz"
    path.write_bytes(path.read_bytes()[:-200])
    content = path.read_bytes()
    again = ReplayBuffer(helpers.SPEC, tmp_path, 100)
    assert str(path) in capsys.readouterr().err
    assert not path.exists() and path.with_suffix(".bad").read_bytes() == content
    assert (again.num_episodes, again.moved_aside) == (3, 1)
    assert set(drawn(again)[0]) == {0, 2}


def test_a_file_with_another_name_is_left_alone(tmp_path):
    filled(tmp_path, [6, 7])
    alien = tmp_path / "my-copy.npz"
    alien.write_bytes((tmp_path / "000001-7.npz").read_bytes())
    again = ReplayBuffer(helpers.SPEC, tmp_path, 100)
    assert again.num_episodes == 2
    again.add_episode(episode(2, 8))
    assert set(drawn(again)[0]) == {0, 1, 2}


def test_a_wrong_episode_leaves_nothing(tmp_path):
    buffer = filled(tmp_path, [6])
    with pytest.raises(ValueError, match="reward"):
        buffer.add_episode({**episode(1, 6), "reward": np.zeros([6], np.float64)})
    assert buffer.num_episodes == 1
    assert helpers.names(tmp_path) == ["000000-6.npz"]


def test_what_cannot_be_written_is_not_added(tmp_path):
    buffer = filled(tmp_path / "run", [6])
    (tmp_path / "run").rename(tmp_path / "moved")
    with pytest.raises(errors.StorageError, match="000001-7.npz"):
        buffer.add_episode(episode(1, 7))
    (tmp_path / "moved").rename(tmp_path / "run")
    assert buffer.num_episodes == 1 and set(drawn(buffer)[0]) == {0}


def test_unfinished_files_are_removed(tmp_path):
    (tmp_path / "000000-6.npz.tmp").write_bytes(b"half")
    assert ReplayBuffer(helpers.SPEC, tmp_path).num_episodes == 0
    assert helpers.names(tmp_path) == []


@pytest.mark.parametrize("observations", [("state",), ("image", "state")])
def test_observations_go_through_files_to_chunks(tmp_path, observations):
    env = environments.load("dot_goal", seed=0, observations=observations)
    spec = {**helpers.SPEC, **tensor_spec.from_spec(env.observation_spec())}
    if "image" not in observations:
        del spec["image"]
    (found,) = run_episodes(env, UniformPolicy(env), helpers.sequences(1))
    ReplayBuffer(spec, tmp_path).add_episode(found)
    again = ReplayBuffer(spec, tmp_path)
    assert again.num_episodes == 1
    chunk = again.sample(tf.constant([0, 0]), 1, 51)
    assert all(chunk[key].dtype == value.dtype for key, value in found.items())
    helpers.assert_same(found, {key: value[0].numpy() for key, value in chunk.items()})


def test_episodes_of_every_length_share_a_graph(tmp_path):
    buffer = filled(tmp_path, range(2, 12))
    assert buffer._add_fn.experimental_get_tracing_count() == 1
    again, empty = (ReplayBuffer(helpers.SPEC, path) for path in (tmp_path, tmp_path / "empty"))
    assert buffer.longest == again.longest == 11
    assert empty.longest == 0
