"""Published scores, and this project's beside them."""

import json

import pytest

from planet_tf import errors
from planet_tf.analysis import published
from planet_tf.analysis.published import Score


def score(task="cheetah_run", seed=0, env_steps=100_000, mean=200.0):
    return Score(task, "cpu", seed, env_steps, 30.0, mean)


def test_a_score_is_read_with_its_run(tmp_path):
    run = {"variant": "cheetah_run-cpu", "seed": 2, "env_steps": 100_000, "minutes": 30.5}
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"task": "cheetah_run", "mean": 201.5, "run": run}))
    expected = Score("cheetah_run", "cpu", 2, 100_000, 30.5, 201.5)
    assert published.read(path) == expected


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"task": "x", "mean": 1, "run": null}'])
def test_another_file_is_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(errors.ConfigError, match=r"x\.json holds no score"):
        published.read(tmp_path / "x.json")


def test_seeds_are_averaged_beside_the_published_scores():
    scores = [score(seed=seed, mean=mean) for seed, mean in enumerate([100.0, 200.0, 300.0])]
    lines = published.table([*scores, score("walker_walk", mean=250.4)]).splitlines()
    assert lines[0].startswith("| 100,000 env steps | cartpole swingup | reacher easy |")
    # The population's standard deviation: sqrt((100^2 + 0 + 100^2) / 3) = 82.
    assert lines[2] == "| **cpu** |  |  | **200 ± 82** (3 seeds) |  |  | **250** (1 seed) |"
    assert lines[3] == "| PlaNet | 563 ± 73 | 82 ± 174 | 165 ± 123 | 560 ± 77 | 0 ± 0 | 224 ± 48 |"
    assert "| SLAC v1 |  |  | 319 ± 56 |" in lines[6]
    assert all(line.count("|") == 8 for line in lines)


def test_two_scores_of_one_seed_are_refused():
    other = [score(seed=1), score(env_steps=500_000), score("walker_walk")]
    published.table([score(), *other])
    with pytest.raises(errors.ConfigError, match="seed 0 of cpu in cheetah_run after about 1"):
        published.table([score(), *other, score(env_steps=101_000, mean=1.0)])


def test_each_budget_has_a_table():
    found = published.table([score(env_steps=500_000), score(env_steps=101_000)])
    small, large = found.split("\n\n")
    assert "100,000 env steps" in small and "500,000 env steps" in large
    assert "CURL | 841 ± 45" in large and "SAC+AE" not in large


@pytest.mark.parametrize("wrong", [score("dot_goal"), score(env_steps=80_000)])
def test_scores_that_nothing_was_published_for_are_refused(wrong):
    with pytest.raises(errors.ConfigError, match=f"{wrong.task} after {wrong.env_steps}"):
        published.table([wrong])


def test_every_method_has_a_cell_per_task():
    for methods in published.SCORES.values():
        assert all(len(cells) == len(published.TASKS) for cells in methods.values())
