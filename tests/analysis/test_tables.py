"""Results as CSV files: what is written, what is read, what is refused."""

import csv

import numpy as np
import pytest
from helpers import scored_run, write_run

from planet_tf import errors
from planet_tf.analysis import curves, tables

HEADER = ",".join(curves.COLUMNS) + "\n"


def test_csv_has_one_row_per_evaluation(tmp_path):
    line = {"time": 0, "episodes": 2, "env_steps": 20, "updates": 200, "collect/return": 7.0}
    last = {**line, "time": 90, "episodes": 4, "env_steps": 40, "updates": 400}
    del last["collect/return"]
    lines = [
        {**line, "evaluation/return": 20.0, "evaluation/return_std": 2.5},
        {**line, "episodes": 3, "env_steps": 30},
        {**last, "evaluation/return": 30.125, "evaluation/return_std": None},
    ]
    (curve,) = tables.read(write_run(tmp_path / "tiny-seed3", lines, seed=3))
    (file,) = tables.write_csvs([curve], tmp_path / "new" / "folder")
    assert file == tmp_path / "new" / "folder" / "tiny-seed3.csv"
    assert file.read_text() == (
        "task,variant,seed,episodes,env_steps,evaluation_return,evaluation_return_std,"
        "collect_return,minutes,updates\n"
        "dot_goal,tiny,3,2,20,20,2.5,7,0.00,200\n"
        "dot_goal,tiny,3,4,40,30.125,,,1.50,400\n"
    )
    (again,) = tables.read(file)
    assert (again.task, again.variant, again.seed) == ("dot_goal", "tiny", 3)
    for x in ("episodes", "env_steps", "minutes", "updates"):
        np.testing.assert_allclose(again.points(x), curve.points(x))


def test_run_of_several_tasks_is_one_csv(tmp_path):
    scores = {"evaluation/return/cup": 1.0, "evaluation/return/walker": 3.0}
    line = {"time": 0, "episodes": 2, "env_steps": 20, "updates": 1, **scores}
    both = tables.read(write_run(tmp_path / "both", [line], task=["cup", "walker"]))
    (file,) = tables.write_csvs(both, tmp_path / "csv")
    assert [curve.task for curve in tables.read(file)] == ["cup", "walker"]


def test_csv_may_hold_several_runs_in_any_order(tmp_path):
    file = tmp_path / "table.csv"
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(reversed(curves.COLUMNS))
        for seed, episodes, score in ((0, 2, 5), (1, 1, 6), (0, 1, 4), (1, 2, "")):
            row = ["cup", "a", seed, episodes, 10 * episodes, score, "", 1.5, 0.1, 0]
            writer.writerow(reversed(row))
    first, second = tables.read(file)
    np.testing.assert_array_equal(first.points("episodes"), [[1, 4], [2, 5]])
    np.testing.assert_array_equal(second.points("env_steps"), [[10, 6]])
    assert len(second.points("episodes", "collect_return")) == 2


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["'task'"]),
        ("episode,env_steps\n1,2\n", ["'episode'", "'task'"]),
        (HEADER, []),
        (HEADER + "cup,a,0,1,x,5,,,0,0\n", ["line 2", "env_steps", "'x'"]),
        (HEADER + "cup,a,0,1,,5,,,0,0\n", ["line 2", "env_steps", "''"]),
        (HEADER + "cup,a,zero,1,1,5,,,0,0\n", ["line 2", "seed", "'zero'"]),
        (HEADER + "cup,a,0,1,1,5,,,0,0,0,0\n", ["line 2"]),
        (HEADER + "cup,a,0,1,1,,,5,0,0\n", ["cup"]),
        (b"\x89PNG\r\n\x1a\n\xff\x00", []),
    ],
)
def test_wrong_csv_is_named(tmp_path, text, parts):
    file = tmp_path / "wrong.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(errors.ConfigError) as error:
        tables.read(file)
    message = error.value.message
    assert all(part in message for part in ["wrong.csv", *parts]) and "\n" not in message


def test_path_without_evaluation_is_named(tmp_path):
    scored = scored_run(tmp_path / "scored", 0) / "scalars.jsonl"
    young = write_run(tmp_path / "young", [])
    (young / "scalars.jsonl").write_text(scored.read_text().splitlines()[0] + "\n")
    for path in (tmp_path / "none", young, write_run(tmp_path / "empty", [])):
        with pytest.raises(errors.ConfigError, match=path.name):
            tables.read(path)


def test_csvs_that_cannot_be_written_are_named(tmp_path):
    (first,) = tables.read(scored_run(tmp_path / "a" / "run", 0))
    (second,) = tables.read(scored_run(tmp_path / "b" / "run", 1))
    with pytest.raises(errors.ConfigError, match=r"csv/run\.csv"):
        tables.write_csvs([first, second], tmp_path / "csv")
    with pytest.raises(errors.ConfigError, match="--csv"):  # no run's directory is given
        tables.write_csvs([curves.Curve("cup", "a", 0, {}, "table.csv")], tmp_path / "csv")
    assert not (tmp_path / "csv").exists()
    blocked = tmp_path / "a" / "run" / "run.json"
    with pytest.raises(errors.ConfigError, match=str(blocked)):
        tables.write_csvs([first], blocked)


def test_a_full_disk_is_named_and_leaves_the_csv_as_it_was(tmp_path):
    curves_of_run = tables.read(scored_run(tmp_path / "run", 0))
    (file,) = tables.write_csvs(curves_of_run, tmp_path / "csv")
    before = file.read_bytes()
    (tmp_path / "csv" / "run.csv.tmp").symlink_to("/dev/full")
    with pytest.raises(errors.StorageError, match=r"run\.csv: No space left on device"):
        tables.write_csvs(curves_of_run, tmp_path / "csv")
    assert file.read_bytes() == before


def test_reading_and_drawing_import_no_tensorflow(python):
    code = "import sys, planet_tf.cli.plot; print('tensorflow' in sys.modules)"
    assert python("-c", code).stdout == "False\n"
