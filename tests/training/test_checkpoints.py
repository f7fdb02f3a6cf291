"""Checkpoints: everything is restored, or nothing is and the reason is named."""

import gc
import re

import gin
import helpers
import numpy as np
import pytest
import tensorflow as tf
from tf_agents.metrics import py_metrics
from tf_agents.trajectories import trajectory

from planet_tf import errors
from planet_tf.training.checkpoints import Checkpoints


def metrics():
    return {
        "steps": py_metrics.EnvironmentSteps(),
        "length": py_metrics.AverageEpisodeLengthMetric(buffer_size=1, batch_size=1),
    }


def test_everything_is_restored(make_agent, batch, tmp_path):
    agent, counters = make_agent(), metrics()
    agent.train(batch)
    agent.train(batch)
    for i in range(3):  # FIRST, MID, MID; the next of the third is LAST
        kinds = np.array([i > 0, 1 + (i == 2)], np.int32)
        step = dict.fromkeys(("observation", "action", "policy_info", "reward", "discount"), ())
        one = trajectory.Trajectory(step_type=kinds[0], next_step_type=kinds[1], **step)
        for metric in counters.values():
            metric(one)
    Checkpoints(tmp_path, agent=agent, **counters).save(1)

    again, restored = make_agent(), metrics()
    for variable in again.world_model.variables:
        variable.assign(variable + 1.0)
    assert Checkpoints(tmp_path, agent=again, **restored).restore() == 1
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
    Checkpoints(tmp_path, agent=make_agent()).save(1)
    gin.bind_parameter("Decoder.units", 24)
    with pytest.raises(errors.ConfigError) as error:
        Checkpoints(tmp_path, agent=make_agent()).restore()
    message = error.value.message
    shapes = re.search(r"shape (\(.+?\)).+shape (\(.+?\)) and name (\S+)", message)
    assert shapes, message
    # The dense layer has 16 outputs in the checkpoint, 24 now.
    assert "16" in shapes[1] and shapes[2] == shapes[1].replace("16", "24")
    assert re.search("dense|deconv1|kernel|bias", shapes[3])
    assert str(tmp_path / "ckpt-1") in message


def test_a_missing_or_further_variable_is_refused(tmp_path):
    one, two = tf.Variable(1.0), tf.Variable(2.0)
    Checkpoints(tmp_path / "one", one=one).save(1)
    Checkpoints(tmp_path / "both", one=one, two=two).save(1)
    more = Checkpoints(tmp_path / "one", one=one, two=two)
    alone = Checkpoints(tmp_path / "both", one=one)
    for restore in (more.restore, alone.restore, lambda: more.restore(partly=True)):
        with pytest.raises(errors.ConfigError, match="ckpt-1"):
            restore()
    assert alone.restore(partly=True) == 1


def test_a_checkpoint_that_does_not_fit_is_one_message(tmp_path, caplog):
    many = {f"v{i}": tf.Variable(1.0) for i in range(3)}
    Checkpoints(tmp_path, **many).save(1)
    gc.collect()  # what other tests left
    caplog.clear()
    with pytest.raises(errors.ConfigError, match="ckpt-1") as error:
        Checkpoints(tmp_path, v0=tf.Variable(1.0)).restore()
    del error  # and with it what would warn about each value when it is deleted
    gc.collect()
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_there_may_be_none(tmp_path):
    value = tf.Variable(1.0)
    assert Checkpoints(tmp_path / "none", value=value).restore() is None
    assert float(value) == 1


def test_the_newest_two_are_kept(tmp_path):
    value = tf.Variable(0.0)
    saved = Checkpoints(tmp_path, value=value)
    for number in (2, 4, 6):
        value.assign(number)
        saved.save(number)
    indices = [name for name in helpers.names(tmp_path) if name.endswith(".index")]
    assert indices == ["ckpt-4.index", "ckpt-6.index"]
    value.assign(0)
    again = Checkpoints(tmp_path, value=value)
    assert (again.restore(), float(value)) == (6, 6)
    assert (again.restore(4), float(value)) == (4, 4)
    with pytest.raises(errors.ConfigError, match=r"2.*\[6, 4\]") as error:
        again.restore(2)
    assert error.value.setting == "--checkpoint"


@pytest.mark.parametrize("listed", [True, False])  # in TensorFlow's own list
def test_higher_numbers_give_way_to_the_one_that_was_saved_last(tmp_path, listed):
    value = tf.Variable(0.0)
    for number in (99, 100):
        Checkpoints(tmp_path, value=value).save(number)
    if not listed:
        (tmp_path / "checkpoint").unlink()
    again = Checkpoints(tmp_path, value=value)
    again.save(91)
    assert {name.split(".")[0] for name in helpers.names(tmp_path)} == {"checkpoint", "ckpt-91"}
    assert again.restore() == 91
    for number in (92, 93):
        again.save(number)
    kept = {name.split(".")[0] for name in helpers.names(tmp_path)}
    assert kept == {"checkpoint", "ckpt-92", "ckpt-93"}


def evaluate_and_save(saved, value, scores):
    """Saves checkpoints whose value is their number, after evaluations with these scores."""
    found = {}
    for number, score in scores.items():
        value.assign(number)
        found[number] = saved.evaluated(number, score)
        saved.save(number)
    return found


def test_the_best_one_is_kept_and_of_equal_ones_the_last(tmp_path):
    value = tf.Variable(0.0)
    saved = Checkpoints(tmp_path, value=value)
    scores = {10: 5.0, 20: 9.0, 30: 7.0, 40: 8.9, 50: 8.0}
    found = evaluate_and_save(saved, value, scores)
    assert [number for number, is_best in found.items() if is_best] == [10, 20]
    assert (saved.restore("best"), float(value)) == (20, 20)
    assert (saved.restore(), float(value)) == (50, 50)
    again = Checkpoints(tmp_path, value=value)  # as in the next process
    assert (again.restore("best"), float(value)) == (20, 20)
    assert evaluate_and_save(again, value, {60: 8.9, 70: 9.0, 80: 1.0}) == {
        **{60: False, 70: True, 80: False}
    }
    assert (again.restore("best"), float(value)) == (70, 70)
    kept = {name.split(".")[0] for name in helpers.names(tmp_path)}
    assert kept == {"best", "checkpoint", "ckpt-70", "ckpt-80", "evaluated-70"}


def test_the_best_one_is_as_it_was_when_it_was_evaluated(tmp_path):
    value = tf.Variable(0.0)
    saved = Checkpoints(tmp_path, value=value)
    evaluate_and_save(saved, value, {10: 5.0})
    value.assign(11)
    saved.save(10)  # a stop in the fit after the evaluation
    assert (saved.restore("best"), float(value)) == (10, 10)
    assert (saved.restore(), float(value)) == (10, 11)


def test_a_checkpoint_is_kept_while_it_is_evaluated_elsewhere(tmp_path):
    value = tf.Variable(10.0)
    saved = Checkpoints(tmp_path, value=value)
    saved.save(10, pending=[10])
    for number in (11, 12, 13):
        value.assign(number)
        saved.save(number, pending=[10])
    assert saved.evaluated(10, 5.0)
    saved.save(14)
    assert (saved.restore("best"), float(value)) == (10, 10)
    saved.save(20, pending=[20])
    saved.save(21, pending=[20])
    assert not saved.evaluated(20, 4.0)
    saved.save(22)
    assert not list(tmp_path.glob("evaluated-20*")) and saved.restore("best") == 10


@pytest.mark.parametrize("kill", ["before", "after"])
def test_a_kill_while_it_is_saved_loses_no_best_one(tmp_path, monkeypatch, kill):
    value = tf.Variable(0.0)
    saved = Checkpoints(tmp_path, value=value)
    evaluate_and_save(saved, value, {10: 5.0, 20: 4.0})
    killed = pytest.raises(KeyboardInterrupt)
    part = (tf.train.Checkpoint, "save") if kill == "before" else (Checkpoints, "_copy")
    was = getattr(*part)

    def die(self, number_or_path):
        if kill == "before" or number_or_path == 30 and list(tmp_path.glob("ckpt-30.index")):
            raise KeyboardInterrupt
        return was(self, number_or_path)

    monkeypatch.setattr(*part, die)
    with killed:
        evaluate_and_save(saved, value, {30: 9.0})
    monkeypatch.undo()
    again = Checkpoints(tmp_path, value=value)
    best, newest = (10, 20) if kill == "before" else (30, 30)
    assert (again.restore("best"), float(value)) == (best, best)
    assert again.restore() == newest
    value.assign(31)  # a stop in the next fit
    again.save(newest)
    assert (again.restore("best"), float(value)) == (best, best)
    assert again.restore() == newest


def test_what_is_evaluated_again_is_copied_again(tmp_path):
    value = tf.Variable(10.0)
    stopped = Checkpoints(tmp_path, value=value)
    stopped.save(10, pending=[10])
    value.assign(11)  # the next fit, which is stopped
    stopped.save(10, pending=[10])
    again = Checkpoints(tmp_path, value=value)
    again.save(10, pending=[10])  # the evaluation starts again, with these weights
    assert again.evaluated(10, 5.0)
    value.assign(12)
    again.save(11)
    assert (again.restore("best"), float(value)) == (10, 11)
    value.assign(13)  # its checkpoint was lost, and with it a fit
    last = Checkpoints(tmp_path, value=value)
    assert last.evaluated(10, 6.0)
    last.save(10)
    assert (last.restore("best"), float(value)) == (10, 13)


def test_a_run_that_lost_its_best_episodes_has_no_best_one(tmp_path):
    value = tf.Variable(0.0)
    saved = Checkpoints(tmp_path, value=value)
    with pytest.raises(errors.ConfigError, match="no best checkpoint yet") as error:
        saved.restore("best")
    assert error.value.setting == "--checkpoint" and "first evaluation" in error.value.hint
    evaluate_and_save(saved, value, {60: 5.0})
    saved.save(55)
    for each in (saved, Checkpoints(tmp_path, value=value)):
        with pytest.raises(errors.ConfigError, match="no best checkpoint yet"):
            each.restore("best")
    assert {name.split(".")[0] for name in helpers.names(tmp_path)} == {"checkpoint", "ckpt-55"}
    assert saved.evaluated(60, 1.0)


def test_what_a_kill_left_is_removed_with_the_next_one(tmp_path):
    value = tf.Variable(0.0)
    saved = Checkpoints(tmp_path, value=value)
    for number in (1, 2):
        saved.save(number)
    (tmp_path / "ckpt-3_temp").mkdir()
    (tmp_path / "ckpt-3_temp" / "part-00000-of-00001.data").write_bytes(b"half")
    (tmp_path / "ckpt-3.data-00000-of-00001").write_bytes(b"without its index")
    again = Checkpoints(tmp_path, value=value)
    assert again.restore() == 2
    again.save(4)
    kept = {name.split(".")[0] for name in helpers.names(tmp_path)}
    assert kept == {"checkpoint", "ckpt-2", "ckpt-4"}


@pytest.mark.parametrize("harm", ["truncated", "changed", "no data", "no list", "empty index"])
def test_an_unreadable_checkpoint_gives_way_to_the_last(tmp_path, capsys, harm):
    value = tf.Variable(tf.range(100.0))
    saved = Checkpoints(tmp_path, value=value)
    for number in (3, 12):
        value.assign(tf.fill([100], float(number)))
        saved.save(number)
    data = tmp_path / "ckpt-12.data-00000-of-00001"
    if harm == "truncated":
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
    assert Checkpoints(tmp_path, value=value).restore() == expected
    np.testing.assert_array_equal(value, np.full(100, float(expected)))
    said = capsys.readouterr().err
    assert ("ckpt-12" in said and "ckpt-3" in said) == (expected == 3)


def test_checkpoints_that_are_all_unreadable_are_named(tmp_path):
    value = tf.Variable(1.0)
    Checkpoints(tmp_path, value=value).save(1)
    (tmp_path / "ckpt-1.data-00000-of-00001").unlink()
    with pytest.raises(errors.ConfigError, match="ckpt-1"):
        Checkpoints(tmp_path, value=value).restore()


def test_a_checkpoint_that_cannot_be_written_is_named(tmp_path):
    saved = Checkpoints(tmp_path / "run", value=tf.Variable(1.0))
    (tmp_path / "run").write_text("a file")
    with pytest.raises(errors.StorageError, match=str(tmp_path / "run")):
        saved.save(1)
