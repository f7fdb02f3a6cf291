"""Learning curves: read and written, against values found by hand."""

import csv
import json

import numpy as np
import pytest

from planet_tf import curves


def line(time, episodes, **tags):
    counters = dict(updates=100 * episodes, agent_steps=5 * episodes, env_steps=10 * episodes)
    return {"time": time, "episodes": episodes, **counters, **tags}


def make_run(root, lines, run=None, tail=""):
    root.mkdir(parents=True)
    run = run or {"task": "dot_goal", "seed": 3, "action_repeat": 2}
    (root / "run.json").write_text(json.dumps(run))
    (root / "scalars.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in lines) + tail)
    return root


LINES = [
    line(1000.0, 1, **{"collect/return": 5.0}),
    line(1060.0, 2, **{"collect/return": 7.0}),
    line(1061.0, 2, **{"train/loss": 1.0}),
    line(1090.0, 2, **{"evaluation/return": 20.0, "evaluation/return_std": 2.5}),
    line(5090.0, 3, **{"collect/return": 8.0}),  # resumed: 4000 s are no time of the run
    line(5120.0, 4, **{"evaluation/return": 30.0, "evaluation/return_std": None}),
]


def test_a_run_is_read(tmp_path):
    root = make_run(tmp_path / "tiny-seed12", LINES, tail='{"time": 5200, "episodes": 5, "eval')
    (curve,) = curves.read(root)
    assert (curve.task, curve.variant, curve.seed) == ("dot_goal", "tiny", 3)
    nan = np.nan
    expected = {
        "episodes": [1, 2, 3, 4],
        "env_steps": [10, 20, 30, 40],
        "updates": [100, 200, 300, 400],
        "evaluation_return": [nan, 20, nan, 30],
        "evaluation_return_std": [nan, 2.5, nan, nan],
        "collect_return": [5, 7, 8, nan],
        "minutes": [0, 1.5, 1.5, 2],
    }
    assert set(curve.columns) == set(expected)
    for column, values in expected.items():
        np.testing.assert_allclose(curve.columns[column], values, err_msg=column)
    np.testing.assert_allclose(curve.points("minutes"), [[1.5, 20], [2, 30]])
    np.testing.assert_allclose(curve.points("episodes", "collect_return")[:, 0], [1, 2, 3])


def test_a_line_torn_in_the_middle_is_passed_over(tmp_path):
    root = make_run(tmp_path / "run", LINES[:4], tail='{"time": 1091.0, "epi')
    with (root / "scalars.jsonl").open("a") as file:  # the resumed run writes on behind it
        file.write("".join(json.dumps(entry) + "\n" for entry in LINES[4:]))
    (curve,) = curves.read(root)
    np.testing.assert_array_equal(curve.columns["episodes"], [1, 2, 4])


def test_minutes_leave_out_pauses_and_steps_back():
    times = [100, 160, 160 + 1800, 160 + 1800 + 1801, 3000, 3060]  # 1800 s are just no pause
    minutes = curves.minutes_without_pauses(times)
    np.testing.assert_allclose(minutes, [0, 1, 31, 31, 31, 32])
    assert len(curves.minutes_without_pauses([])) == 0


def test_several_tasks_give_a_curve_each(tmp_path):
    run = {"task": ["cup", "walker"], "seed": 0, "action_repeat": [4, 2]}
    scores = {"evaluation/return/cup": 1.0, "evaluation/return/walker": 3.0}
    lines = [
        line(0.0, 1, **{"collect/return": 5.0, "collect/return/cup": 5.0}),
        line(6.0, 2, **{"collect/return": 6.0, "collect/return/walker": 6.0}),
        line(9.0, 2, **{"evaluation/return": 2.0, "evaluation/return_std": 1.0, **scores}),
    ]
    cup, walker = curves.read(make_run(tmp_path / "both", lines, run))
    assert (cup.task, walker.task) == ("cup", "walker")
    for curve, score in ((cup, 1), (walker, 3)):
        np.testing.assert_array_equal(curve.points("env_steps"), [[20, score]])
        assert np.isnan(curve.columns["evaluation_return_std"]).all()
    np.testing.assert_array_equal(cup.points("episodes", "collect_return"), [[1, 5]])
    np.testing.assert_array_equal(walker.points("episodes", "collect_return"), [[2, 6]])
    (file,) = curves.write_csvs([cup, walker], tmp_path / "csv")
    again = curves.read(file)
    assert [curve.task for curve in again] == ["cup", "walker"]


def test_an_old_run_is_known_by_its_settings(tmp_path):
    root = make_run(tmp_path / "old", LINES)
    (root / "run.json").unlink()
    settings = "train.seed_episodes = 5\ntrain.seed = 7\ntrain.task = 'cup_catch'\n"
    (root / "config.gin").write_text(settings)
    (curve,) = curves.read(root)
    assert (curve.task, curve.seed) == ("cup_catch", 7)


def test_a_table_has_a_row_an_evaluation_and_is_read_again(tmp_path):
    (curve,) = curves.read(make_run(tmp_path / "tiny-seed3", LINES))
    (file,) = curves.write_csvs([curve], tmp_path / "new" / "folder")
    assert file == tmp_path / "new" / "folder" / "tiny-seed3.csv"
    assert file.read_text() == (
        "task,variant,seed,episodes,env_steps,evaluation_return,evaluation_return_std,"
        "collect_return,minutes,updates\n"
        "dot_goal,tiny,3,2,20,20,2.5,7,1.50,200\n"
        "dot_goal,tiny,3,4,40,30,,,2.00,400\n"
    )
    (again,) = curves.read(file)
    assert (again.task, again.variant, again.seed) == ("dot_goal", "tiny", 3)
    for x in ("episodes", "env_steps", "minutes", "updates"):
        np.testing.assert_allclose(again.points(x), curve.points(x))


def test_a_table_may_hold_several_runs_and_rows_without_evaluation(tmp_path):
    file = tmp_path / "table.csv"
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(reversed(curves.COLUMNS))
        for seed, episodes, score in ((0, 2, 5), (1, 1, 6), (0, 1, 4), (1, 2, "")):
            row = ["cup", "a", seed, episodes, 10 * episodes, score, "", 1.5, 0.1, 0]
            writer.writerow(reversed(row))
    first, second = curves.read(file)
    np.testing.assert_array_equal(first.points("episodes"), [[1, 4], [2, 5]])
    np.testing.assert_array_equal(second.points("env_steps"), [[10, 6]])
    assert len(second.points("episodes", "collect_return")) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'task'"),
        ("episode,env_steps\n1,2\n", "unknown column 'episode', no column 'task'"),
        (",".join(curves.COLUMNS) + "\n", "no evaluation in it"),
        (",".join(curves.COLUMNS) + "\ncup,a,0,1,x,5,,,0,0\n", "line 2: env_steps is 'x', no num"),
        (",".join(curves.COLUMNS) + "\ncup,a,0,1,,5,,,0,0\n", "line 2: env_steps is ''"),
        (",".join(curves.COLUMNS) + "\ncup,a,zero,1,1,5,,,0,0\n", "line 2: seed is 'zero'"),
        (",".join(curves.COLUMNS) + "\ncup,a,0,1,1,5,,,0,0,0,0\n", "more cells than columns"),
        (",".join(curves.COLUMNS) + "\ncup,a,0,1,1,,,5,0,0\n", "no evaluation of cup yet"),
    ],
)
def test_a_wrong_table_is_named(tmp_path, text, message):
    file = tmp_path / "wrong.csv"
    file.write_text(text)
    with pytest.raises(curves.CurveError, match=message) as error:
        curves.read(file)
    assert "wrong.csv" in str(error.value) and "\n" not in str(error.value)


def test_what_holds_no_curve_is_named(tmp_path):
    with pytest.raises(curves.CurveError, match="none: no such file"):
        curves.read(tmp_path / "none")
    with pytest.raises(curves.CurveError, match="no scalars.jsonl in it"):
        curves.read(tmp_path)
    with pytest.raises(curves.CurveError, match="young: no evaluation of dot_goal yet"):
        curves.read(make_run(tmp_path / "young", LINES[:2]))
    with pytest.raises(curves.CurveError, match="empty: no evaluation of dot_goal yet"):
        curves.read(make_run(tmp_path / "empty", []))
    for name, identity in (("torn", '{"task": "cu'), ("list", "[]"), ("half", '{"task": "cup"}')):
        root = make_run(tmp_path / name, LINES)
        (root / "run.json").write_text(identity)
        with pytest.raises(curves.CurveError, match=f"{name}: neither run.json nor config.gin"):
            curves.read(root)
    picture = tmp_path / "picture.csv"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n\xff\x00")
    with pytest.raises(curves.CurveError, match="not a readable CSV"):
        curves.read(picture)


def test_what_cannot_be_written_is_named(tmp_path):
    (first,) = curves.read(make_run(tmp_path / "a" / "run", LINES))
    (second,) = curves.read(make_run(tmp_path / "b" / "run", LINES))
    with pytest.raises(curves.CurveError, match="both would be .*run.csv"):
        curves.write_csvs([first, second], tmp_path / "csv")
    with pytest.raises(curves.CurveError, match="no run's directory is given"):
        curves.write_csvs([curves.Curve("cup", "a", 0, {}, "table.csv")], tmp_path / "csv")
    assert not (tmp_path / "csv").exists()
    with pytest.raises(curves.CurveError, match="cannot be written"):
        curves.write_csvs([first], tmp_path / "a" / "run" / "run.json")


def test_no_tensorflow_is_imported(python):
    code = "import sys, planet_tf.curves, planet_tf.figures; print('tensorflow' in sys.modules)"
    assert python("-c", code).stdout == "False\n"


def test_the_results_in_the_repository_are_readable(root):
    files = sorted((root / "results").rglob("*.csv"))
    assert files
    for file in files:
        for curve in curves.read(file):
            assert np.all(np.diff(curve.columns["minutes"]) >= 0)
