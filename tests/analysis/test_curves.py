"""Learning curves of runs, against values worked out by hand."""

import datetime
import json

import numpy as np
import pytest
from helpers import write_run

from planet_tf import errors
from planet_tf.analysis import curves


def line(time, episodes, **tags):
    counters = dict(updates=100 * episodes, agent_steps=5 * episodes, env_steps=10 * episodes)
    return {"time": time, "episodes": episodes, **counters, **tags}


def write_processes(root, *starts):
    """Writes when the processes of a run started, in seconds, as `provenance` does."""
    texts = [datetime.datetime.fromtimestamp(s, datetime.timezone.utc).isoformat() for s in starts]
    lines = [json.dumps({"started": text}) + "\n" for text in texts]
    (root / "processes.jsonl").write_text("".join(lines) + '{"star')


LINES = [
    line(1000.0, 1, **{"collect/return": 5.0}),
    line(1060.0, 2, **{"collect/return": 7.0}),
    line(1061.0, 2, **{"train/loss": 1.0}),
    line(1090.0, 2, **{"evaluation/return": 20.0, "evaluation/return_std": 2.5}),
    line(5090.0, 3, **{"collect/return": 8.0}),  # after a pause
    line(5120.0, 4, **{"evaluation/return": 30.0, "evaluation/return_std": None}),
]


def test_run_is_read(tmp_path):
    tail = '{"time": 5200, "episodes": 5, "eval'
    root = write_run(tmp_path / "tiny-seed12", LINES, tail, seed=3)
    write_processes(root, 900, 5060)
    (curve,) = curves.read_run(root)
    assert (curve.task, curve.variant, curve.seed) == ("dot_goal", "tiny", 3)
    nan = np.nan
    expected = {
        "episodes": [1, 2, 3, 4],
        "env_steps": [10, 20, 30, 40],
        "updates": [100, 200, 300, 400],
        "evaluation_return": [nan, 20, nan, 30],
        "evaluation_return_std": [nan, 2.5, nan, nan],
        "collect_return": [5, 7, 8, nan],
        "minutes": [0, 1.5, 2, 2.5],
    }
    assert curve.columns.keys() == expected.keys()
    for column, values in expected.items():
        np.testing.assert_allclose(curve.columns[column], values, err_msg=column)
    np.testing.assert_allclose(curve.points("minutes"), [[1.5, 20], [2.5, 30]])
    np.testing.assert_allclose(curve.points("episodes", "collect_return")[:, 0], [1, 2, 3])


def test_an_evaluation_beside_the_training_is_a_point_of_its_own_episode(tmp_path):
    late = line(1210.0, 2, **{"evaluation/return": 20.0})
    lines = [*LINES[:2], line(1150.0, 3, **{"collect/return": 8.0}), late]
    (curve,) = curves.read_run(write_run(tmp_path / "late", lines))
    np.testing.assert_array_equal(curve.points("episodes"), [[2, 20]])
    assert list(curve.columns["minutes"]) == [0, 1, 2.5]  # increasing, as they are drawn


def test_truncated_line_in_the_middle_is_skipped(tmp_path):
    root = write_run(tmp_path / "run", LINES[:4], tail='{"time": 1091.0, "epi')
    whole = write_run(tmp_path / "rest", LINES[4:]) / "scalars.jsonl"
    with (root / "scalars.jsonl").open("a") as file:  # what the resumed run appends
        file.write(whole.read_text())
    (curve,) = curves.read_run(root)
    np.testing.assert_array_equal(curve.columns["episodes"], [1, 2, 4])


def test_minutes_skip_pauses_and_steps_back():
    hour = 3600
    # An hour's work, an hour's pause with two starts, the clock set back, a start in between.
    times = [100, 160, 160 + hour, 160 + 2 * hour, 10, 70, 130]
    starts = [40, 130 + 2 * hour, 100 + 2 * hour]
    minutes = curves.minutes_without_pauses(times, starts)
    np.testing.assert_allclose(minutes, [0, 1, 61, 61.5, 61.5, 62, 63])
    np.testing.assert_allclose(curves.minutes_without_pauses(times[:3], []), [0, 1, 61])
    assert len(curves.minutes_without_pauses([], starts)) == 0


def test_several_tasks_give_a_curve_each(tmp_path):
    scores = {"evaluation/return/cup": 1.0, "evaluation/return/walker": 3.0}
    lines = [
        line(0.0, 1, **{"collect/return": 5.0, "collect/return/cup": 5.0}),
        line(6.0, 2, **{"collect/return": 6.0, "collect/return/walker": 6.0}),
        line(9.0, 2, **{"evaluation/return": 2.0, "evaluation/return_std": 1.0, **scores}),
    ]
    cup, walker = curves.read_run(write_run(tmp_path / "both", lines, task=["cup", "walker"]))
    assert (cup.task, walker.task) == ("cup", "walker")
    for curve, score in ((cup, 1), (walker, 3)):
        np.testing.assert_array_equal(curve.points("env_steps"), [[20, score]])
        assert np.isnan(curve.columns["evaluation_return_std"]).all()
    np.testing.assert_array_equal(cup.points("episodes", "collect_return"), [[1, 5]])
    np.testing.assert_array_equal(walker.points("episodes", "collect_return"), [[2, 6]])


def test_real_run_is_read(toy_run):
    (curve,) = curves.read_run(toy_run)
    assert (curve.task, curve.seed) == ("dot_goal", 0)
    np.testing.assert_array_equal(curve.points("episodes")[:, 0], [4])
    collected = curve.points("env_steps", "collect_return")
    np.testing.assert_array_equal(collected[:, 0], [50, 100, 150, 200])


@pytest.mark.parametrize("identity", ['{"task": "cu', "[]", '{"task": "cup"}', None])
def test_directory_without_identity_is_named(tmp_path, identity):
    root = write_run(tmp_path / "run", LINES)
    (root / "run.json").unlink()
    if identity:
        (root / "run.json").write_text(identity)
    with pytest.raises(errors.ConfigError) as error:
        curves.read_run(root)
    assert str(root) in error.value.message and "run.json" in error.value.message


def test_directory_without_scalars_is_named(tmp_path):
    with pytest.raises(errors.ConfigError) as error:
        curves.read_run(tmp_path)
    assert str(tmp_path) in error.value.message and "scalars.jsonl" in error.value.message
