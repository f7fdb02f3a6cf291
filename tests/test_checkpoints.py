"""Checkpoints: everything comes back, or nothing does and the reason is named."""

import re

import gin
import numpy as np
import pytest
import tensorflow as tf
from tf_agents.metrics import py_metrics
from tf_agents.trajectories import trajectory

from planet_tf import checkpoints


def metrics():
    return {
        "steps": py_metrics.EnvironmentSteps(),
        "length": py_metrics.AverageEpisodeLengthMetric(buffer_size=1, batch_size=1),
    }


def test_everything_comes_back(make_agent, batch, tmp_path):
    agent, counters = make_agent(), metrics()
    agent.train(batch)
    agent.train(batch)
    for i in range(3):  # FIRST, MID, MID; the next of the third is LAST
        kinds = np.array([i > 0, 1 + (i == 2)], np.int32)
        step = dict.fromkeys(("observation", "action", "policy_info", "reward", "discount"), ())
        one = trajectory.Trajectory(step_type=kinds[0], next_step_type=kinds[1], **step)
        for metric in counters.values():
            metric(one)
    checkpoints.Checkpoints(tmp_path, agent=agent, **counters).save(1)

    again, restored = make_agent(1), metrics()
    assert checkpoints.Checkpoints(tmp_path, agent=again, **restored).restore() == 1
    assert int(again.train_step_counter) == 2
    assert {name: metric.result() for name, metric in restored.items()} == {"steps": 3, "length": 3}
    slots = again.optimizer.variables
    assert any(np.any(slot) for slot in slots if slot.shape.rank)
    for mine, theirs in (
        (again.world_model.variables, agent.world_model.variables),
        (slots, agent.optimizer.variables),
    ):
        assert len(mine) == len(theirs) > 20
        for x, y in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(x, y, err_msg=x.name)
    assert again.train(batch).loss == agent.train(batch).loss
    for x, y in zip(again.world_model.variables, agent.world_model.variables, strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_changed_size_is_named_with_both_shapes(make_agent, tmp_path):
    checkpoints.Checkpoints(tmp_path, agent=make_agent()).save(1)
    gin.bind_parameter("Decoder.units", 24)
    with pytest.raises(ValueError) as caught:
        checkpoints.Checkpoints(tmp_path, agent=make_agent()).restore()
    message = str(caught.value)
    shapes = re.search(r"shape (\(.+?\)).+shape (\(.+?\)) and name (\S+)", message)
    assert shapes, message
    # The dense layer has 16 outputs in the checkpoint, 24 now.
    assert "16" in shapes[1] and shapes[2] == shapes[1].replace("16", "24")
    assert re.search("dense|deconv1|kernel|bias", shapes[3])
    assert str(tmp_path / "ckpt-1") in message and "--root_dir" in message


def test_a_variable_more_or_less_is_refused(tmp_path):
    one, two = tf.Variable(1.0), tf.Variable(2.0)
    checkpoints.Checkpoints(tmp_path / "one", one=one).save(1)
    checkpoints.Checkpoints(tmp_path / "both", one=one, two=two).save(1)
    with pytest.raises(ValueError, match="does not fit"):
        checkpoints.Checkpoints(tmp_path / "one", one=one, two=two).restore()
    alone = checkpoints.Checkpoints(tmp_path / "both", one=one)
    with pytest.raises(ValueError, match="does not fit"):
        alone.restore()
    assert alone.restore(partly=True) == 1
    with pytest.raises(ValueError, match="does not fit"):
        checkpoints.Checkpoints(tmp_path / "one", one=one, two=two).restore(partly=True)


def test_there_may_be_none(tmp_path):
    value = tf.Variable(1.0)
    assert checkpoints.Checkpoints(tmp_path / "none", value=value).restore() is None
    assert float(value) == 1


def test_the_newest_two_are_kept(tmp_path):
    value = tf.Variable(0.0)
    saved = checkpoints.Checkpoints(tmp_path, value=value)
    for number in (2, 4, 6):
        value.assign(number)
        saved.save(number)
    assert sorted(path.name for path in tmp_path.glob("*.index")) == [
        "ckpt-4.index",
        "ckpt-6.index",
    ]
    value.assign(0)
    again = checkpoints.Checkpoints(tmp_path, value=value)
    assert (again.restore(), float(value)) == (6, 6)
    assert (again.restore(4), float(value)) == (4, 4)
    with pytest.raises(ValueError, match=r"has no checkpoint 2, only \[6, 4\]"):
        again.restore(2)


def test_what_a_kill_left_of_a_checkpoint_goes_with_the_next_one(tmp_path):
    value = tf.Variable(0.0)
    saved = checkpoints.Checkpoints(tmp_path, value=value)
    for number in (1, 2):
        saved.save(number)
    (tmp_path / "ckpt-3_temp").mkdir()
    (tmp_path / "ckpt-3_temp" / "part-00000-of-00001.data").write_bytes(b"half")
    (tmp_path / "ckpt-3.data-00000-of-00001").write_bytes(b"without its index")
    again = checkpoints.Checkpoints(tmp_path, value=value)
    assert again.restore() == 2
    again.save(4)
    names = {path.name.split(".")[0] for path in tmp_path.iterdir()}
    assert names == {"checkpoint", "ckpt-2", "ckpt-4"}


@pytest.mark.parametrize("harm", ["cut", "changed", "no data", "no list", "empty index"])
def test_a_torn_newest_checkpoint_gives_way_to_the_one_before(tmp_path, capsys, harm):
    value = tf.Variable(tf.range(100.0))
    saved = checkpoints.Checkpoints(tmp_path, value=value)
    for number in (3, 12):
        value.assign(tf.fill([100], float(number)))
        saved.save(number)
    data = tmp_path / "ckpt-12.data-00000-of-00001"
    if harm == "cut":
        data.write_bytes(data.read_bytes()[:200])
    elif harm == "changed":
        data.write_bytes(data.read_bytes()[:200] + b"x" + data.read_bytes()[201:])
    elif harm == "no data":
        data.unlink()
    elif harm == "no list":
        (tmp_path / "checkpoint").unlink()
    else:
        (tmp_path / "ckpt-12.index").write_bytes(b"")
    expected = 12 if harm == "no list" else 3
    value.assign(tf.zeros([100]))
    assert checkpoints.Checkpoints(tmp_path, value=value).restore() == expected
    np.testing.assert_array_equal(value, np.full(100, float(expected)))
    said = capsys.readouterr().err
    assert ("ckpt-12 cannot be read" in said and "ckpt-3 is used" in said) == (expected == 3)


def test_checkpoints_that_are_all_torn_are_named(tmp_path):
    value = tf.Variable(1.0)
    checkpoints.Checkpoints(tmp_path, value=value).save(1)
    (tmp_path / "ckpt-1.data-00000-of-00001").unlink()
    with pytest.raises(ValueError, match="ckpt-1 cannot be read .*move them away"):
        checkpoints.Checkpoints(tmp_path, value=value).restore()
