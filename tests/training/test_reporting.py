"""What a run reports of its resumption, its evaluations and its predictions."""

import types

import helpers
import numpy as np
import pytest

from planet_tf.training.reporting import Report

COUNTERS = {"updates": 6, "episodes": 4, "agent_steps": 200, "env_steps": 400}


@pytest.fixture
def directory(tmp_path):
    return types.SimpleNamespace(root=tmp_path, settings="", killed=None, changes=[])


@pytest.fixture
def report(directory):
    report = Report(directory, 9, COUNTERS)
    yield report
    report.close()


def resumed(report, capsys, directory, saved=4, bad_files=0, **changed):
    for name, value in changed.items():
        setattr(directory, name, value)
    report.resumed(directory, COUNTERS, saved, bad_files)
    return capsys.readouterr().err


def test_a_resumed_run_reports_where_it_is(report, capsys, directory):
    said = resumed(report, capsys, directory)
    assert "episode 4 of 9, update 6 (checkpoint 4)" in said and "lost" not in said


def test_a_resumed_run_reports_what_was_lost(report, capsys, directory):
    said = resumed(report, capsys, directory, saved=3)  # an episode without its checkpoint
    assert "lost" in said and "update 6" in said and "killed" not in said
    said = resumed(report, capsys, directory, killed="process 7 on a computer")
    assert "lost" in said and "process 7 on a computer" in said
    said = resumed(report, capsys, directory, saved=None, killed=None)
    assert "no checkpoint" in said and "lost" in said
    assert "2 episodes" in resumed(report, capsys, directory, bad_files=2)


def test_a_resumed_run_reports_changed_settings(report, capsys, directory):
    said = resumed(
        report, capsys, directory, changes=["train.episodes: 3 -> 5", "CEM.clip: 1 -> 2"]
    )
    assert "train.episodes: 3 -> 5" in said and "CEM.clip: 1 -> 2" in said


def test_a_complete_run_names_the_setting_that_continues_it(directory, capsys):
    report = Report(directory, 4, COUNTERS)
    assert "train.episodes=8" in resumed(report, capsys, directory)
    report.close()


def test_a_line_may_be_printed_only_once(report, capsys):
    for text in ("one", "one", "two", "one"):
        report.once(text)
    assert capsys.readouterr().err == "one\ntwo\n"


def test_an_evaluation_of_several_tasks_is_their_mean(report, directory, capsys):
    returns = {"one": np.array([1.0, 3.0]), "two": np.array([4.0, 4.0])}
    report.evaluated(returns, 5.0, COUNTERS, is_best=True)
    assert "one 2.0; two 4.0), the best so far" in capsys.readouterr().err
    (line,) = helpers.scalars(directory.root)
    del line["time"]
    assert line == {
        **COUNTERS,
        "evaluation/return": 3.0,
        "evaluation/return_std": 0.5,
        "evaluation/return/one": 2.0,
        "evaluation/return/two": 4.0,
        "time/evaluation_decision_ms": 5.0,
    }


def test_one_task_has_no_tags_of_its_own(report, directory, capsys):
    report.evaluated({"one": np.array([1.0, 3.0])}, 5.0, COUNTERS, is_best=False)
    report.collected("one", {"return": 7.0, "length": 5.0}, COUNTERS, 0, 0.0, several=False)
    tags = {tag for line in helpers.scalars(directory.root) for tag in line}
    assert tags - set(COUNTERS) - {"time"} == {
        *["evaluation/return", "evaluation/return_std", "time/evaluation_decision_ms"],
        *["collect/return", "collect/length"],  # it was random: nothing was decided
    }
    said = capsys.readouterr().err
    assert "400 env steps, return 7.0" in said and "best" not in said


def test_predictions_without_images_are_numbers_only(report, directory, tensorboard_tags):
    report.predicted({"observation": 1.0, "reward": 2.0}, None, COUNTERS)
    (line,) = helpers.scalars(directory.root)
    assert (line["open_loop/observation"], line["open_loop/reward"]) == (1.0, 2.0)
    report.close()
    assert not {tag for tag in tensorboard_tags(directory.root) if tag.startswith("heldout/")}


def test_clipped_gradients_are_warned_of_once_after_the_first_fit(report, capsys):
    def said(clipped):
        report.fitted({"train/loss": 1.0, "train/gradient_clipped": clipped}, COUNTERS)
        return capsys.readouterr().err.count("PlanetAgent.clip_norm")

    assert [said(clipped) for clipped in (1.0, 0.5, 0.51, 0.6)] == [0, 0, 1, 0]
