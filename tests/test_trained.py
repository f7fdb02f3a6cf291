"""What training left is taken up as it was, or refused with the way out."""

import json
import shutil

import gin
import numpy as np
import pytest

from planet_tf import config, environments, evaluation, trained


def seeds(count):
    return np.random.SeedSequence(3).spawn(count)


def test_a_run_and_its_export_act_alike(toy_run, checkpoint):
    before = {path: path.stat().st_mtime_ns for path in toy_run.rglob("*")}
    gin.bind_parameter("cem.candidates", 999)  # the run's own settings take its place
    policy, source, run = trained.load(toy_run)
    env = source.env
    assert gin.query_parameter("cem.candidates") == 20
    assert (env.name, run.updates) == ("dot_goal", 6)
    exported, its_source, nothing = trained.load(toy_run / "policy")
    its_env = its_source.env
    assert nothing is None and its_env.name == "dot_goal"
    one, two = (
        evaluation.run_episodes(e, p, seeds(1))[0] for e, p in ((env, policy), (its_env, exported))
    )
    for key, value in one.items():
        np.testing.assert_allclose(two[key], value, atol=1e-4)
    earlier = trained.load_run(toy_run, 3)
    assert earlier.updates == 3
    assert {path: path.stat().st_mtime_ns for path in toy_run.rglob("*")} == before


def test_what_is_no_run_is_said(toy_run, tmp_path):
    with pytest.raises(config.ConfigError, match="neither a run .* nor an exported policy"):
        trained.load(tmp_path)
    with pytest.raises(config.ConfigError, match=r"has no checkpoint 1, only \[4, 3\]"):
        trained.load(toy_run, number=1)
    with pytest.raises(config.ConfigError, match="is no run: it has no checkpoint 3"):
        trained.load(toy_run / "policy", number=3)
    with pytest.raises(config.ConfigError, match="name one of its tasks with --task: dot_goal"):
        trained.load(toy_run, "cheetah_run")
    (tmp_path / "run").mkdir()
    shutil.copy(toy_run / "config.gin", tmp_path / "run")
    with pytest.raises(config.ConfigError, match="has no checkpoint yet"):
        trained.load(tmp_path / "run")


def test_an_exported_policy_alone_needs_its_task(toy_run, tmp_path):
    shutil.copytree(toy_run / "policy", tmp_path / "policy")
    (tmp_path / "policy" / "run.json").unlink()
    with pytest.raises(config.ConfigError, match="--task"):
        trained.load(tmp_path / "policy")
    env = trained.load(tmp_path / "policy", "dot_goal").source.env
    assert (env.name, env.action_repeat) == ("dot_goal", 1)
    with pytest.raises(config.ConfigError, match="did you mean 'dot_goal'"):
        trained.load(tmp_path / "policy", "dot_gaol")
    with pytest.raises(config.ConfigError, match="cheetah_run does not fit the policy"):
        trained.load(tmp_path / "policy", "cheetah_run")
    with pytest.raises(config.ConfigError, match="cartpole_swingup does not fit the policy"):
        trained.load(tmp_path / "policy", "cartpole_swingup")
    several = {"task": ["dot_goal", "cartpole_swingup"], "action_repeat": [2, 8]}
    (tmp_path / "policy" / "run.json").write_text(json.dumps(several))
    with pytest.raises(config.ConfigError, match="--task: dot_goal, cartpole_swingup"):
        trained.load(tmp_path / "policy")
    assert trained.load(tmp_path / "policy", "dot_goal").source.env.action_repeat == 2
    env = trained.load(tmp_path / "policy", "cartpole_swingup").source.env  # one action of its two
    assert env.action_spec().shape == (2,) and env.action_repeat == 8


def test_a_watched_policy_is_timed_and_pictures_are_taken():
    source = evaluation.EnvironmentSource(
        lambda: environments.load("dot_goal", observations=("state",))
    )
    watched = evaluation.Watched(evaluation.UniformPolicy(source.env), source, pictures=True)
    (episode,) = evaluation.run_episodes(source.env, watched, seeds(1))
    frames = watched.frames
    assert len(frames) == len(watched.seconds) == len(episode["reward"]) - 1 == 50
    assert frames[0].shape == (64, 64, 3) and min(watched.seconds) > 0
    assert len(np.unique(np.array(frames).reshape(50, -1), axis=0)) > 40
