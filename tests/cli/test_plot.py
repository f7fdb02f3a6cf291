"""`planet-tf plot`: figures, CSVs and tables of runs."""

import json
import sys

import pytest
from helpers import names, scored_run

from planet_tf.analysis import figures, published
from planet_tf.cli import plot


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Three seeds of variant a, two of variant b; the working directory is empty."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    variants = ["a-seed0", "a-seed1", "a-seed2", "b-seed0", "b-seed1"]
    return [scored_run(tmp_path / name, int(name[-1])) for name in variants]


@pytest.fixture
def drawn(monkeypatch):
    """What `figures.draw` is called with, instead of drawing."""
    calls = []
    monkeypatch.setattr(figures, "draw", lambda *arguments: calls.append(arguments) or [])
    return calls


def test_flags_reach_the_figure(command, runs, drawn):
    flags = ["--x=minutes", "--statistic=iqm", "--title=T", "--labels", "a=one", "b=t=wo"]
    assert command("plot", *runs, *flags, "--reference", "--out=x.png")[0] == 0
    curves, path, *rest = drawn[0]
    assert [curve.source for curve in curves] == [str(run) for run in runs]
    assert str(path) == "x.png"
    paper = published.references("paper")
    assert rest == ["minutes", "iqm", "T", {"a": "one", "b": "t=wo"}, paper]


def test_labels_of_variants_that_hold_an_equals_sign():
    variants = ["cup", "cup-rate=0.1", "cup-rate=0.1-b"]
    given = ["cup=a=b", "cup-rate=0.1=slow", "cup-rate=0.1-b=b", "cap=x"]
    expected = {"cup": "a=b", "cup-rate=0.1": "slow", "cup-rate=0.1-b": "b", "cap": "x"}
    assert plot._labels(given, variants) == expected


def test_figure_is_written_and_named(command, runs, tmp_path):
    status, out, err = command("plot", runs[0])
    assert (status, err) == (0, "")
    assert out.split() == ["learning_curves.png", "learning_curves.svg"] == names(tmp_path / "cwd")


def test_csvs_of_runs_give_the_same_curves(command, runs, drawn, tmp_path):
    folder = tmp_path / "csv"
    status, out, _ = command("plot", *runs, f"--csv={folder}")
    assert status == 0 and not drawn
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [f"{root.name}.csv" for root in runs]
    assert out.split() == [str(file) for file in files]
    assert command("plot", *runs)[0] == command("plot", *files)[0] == 0
    one, two = ([curve.points("env_steps").tolist() for curve in call[0]] for call in drawn)
    assert one == two


def test_table_is_printed_and_nothing_drawn(command, runs, drawn):
    status, out, _ = command("plot", *runs, "--table")
    lines = out.splitlines()
    assert status == 0 and len(lines) == 4 and not drawn
    assert lines[2] == "| cartpole_swingup | a | 3 | 6 | 6,000 | 5 | 601 | 600 601 602 | 821 |"


def test_tilde_in_a_path_is_the_home_directory(command, runs, drawn, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert command("plot", "~/a-seed0", "--csv=~/csv", "--out=~/x.png")[0] == 0
    assert names(tmp_path / "csv") == ["a-seed0.csv"] and drawn[0][1] == tmp_path / "x.png"


def test_wrong_input_is_named(command, runs, tmp_path):
    table = tmp_path / "old.csv"
    table.write_text("episode,score\n1,2\n")
    copy = scored_run(tmp_path / "copy" / "a-seed0", 0)
    for arguments, part in [
        ([tmp_path / "none"], "none"),
        ([tmp_path], str(tmp_path)),
        ([table], "'episode'"),
        ([runs[0], copy], str(copy)),
        ([runs[0], "--labels", "c=x"], "'c'"),
        ([runs[0], "--labels", "a"], "--labels"),
        ([runs[0], "--out=figure.pdf"], "figure.pdf"),
        ([runs[0], "--out=none/figure.png"], "none/figure.png"),
        ([runs[0], "--x=loss"], "'loss'"),
        ([], "RUN_OR_CSV"),
    ]:
        status, out, err = command("plot", *arguments)
        assert status == 2 and not out and part in err, err
    assert not names(tmp_path / "cwd")


def test_csvs_need_no_matplotlib(command, runs, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, _, err = command("plot", runs[0])
    assert status == 2 and "matplotlib" in err
    assert command("plot", runs[0], f"--csv={tmp_path / 'csv'}")[0] == 0


def test_scores_are_laid_out_beside_the_published_ones(command, runs, tmp_path):
    run = {"variant": "cheetah_run-cpu", "seed": 2, "env_steps": 100_000, "minutes": 30.5}
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"task": "cheetah_run", "mean": 201.5, "run": run}))
    status, out, _ = command("plot", path, "--table")
    assert status == 0 and out.startswith("| 100,000 env steps")
    assert "**202** (1 seed)" in out and "SAC+AE" in out and "| variant |" not in out
    status, _, err = command("plot", path, "--table", "--out=x.png")
    assert status == 2 and "x.png: nothing to draw" in err
    status, out, _ = command("plot", path, runs[0], "--table")
    assert status == 0 and "| variant |" in out and "**202** (1 seed)" in out
