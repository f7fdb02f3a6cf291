"""Training, as the user runs it: from nothing to all that a run leaves, and on from there."""

import json
import pathlib
import shutil

import gin
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from planet_tf import config, environments, policy, runs

ROOT = pathlib.Path(__file__).parents[1]
SETTINGS = {"planet", "cpu", "debug", "comparison"}
TASKS = {
    "cartpole_balance": ("cartpole_balance", 8),
    "cartpole_swingup": ("cartpole_swingup", 8),
    "cheetah": ("cheetah_run", 4),
    "cup": ("ball_in_cup_catch", 4),
    "finger": ("finger_spin", 2),
    "reacher": ("reacher_easy", 4),
    "walker": ("walker_walk", 2),
    "dot_goal": ("dot_goal", None),
}
TERMS = {
    "loss",
    "observation_loss",
    "reward_loss",
    "kl",
    "kl_loss",
    "prior_entropy",
    "posterior_entropy",
}
TAGS = {
    *(f"train/{term}" for term in TERMS | {"gradient_norm"}),
    *(f"test/{term}" for term in TERMS),
    "collect/return",
    "collect/length",
    "evaluation/return",
    "evaluation/return_std",
    "time/updates_per_second",
    "time/decision_ms",
    "time/evaluation_decision_ms",
    "open_loop/observation",
    "open_loop/reward",
    "open_loop/kl",
}
PICTURES = {
    "config",
    "heldout/real_model_difference",
    "heldout/open_loop",
    "_hparams_/experiment",
    "_hparams_/session_start_info",
}
COUNTERS = {"time", "updates", "episodes", "agent_steps", "env_steps"}


def lines(run):
    return [json.loads(line) for line in (run / "scalars.jsonl").read_text().splitlines()]


def value(values, part):
    (found,) = (int(x) for key, x in values.items() if part in key)
    return found


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_one_command_trains_and_the_same_again_resumes(
    train, tmp_path, checkpoint, tensorboard_tags
):
    run = tmp_path / "run"
    files = ["cheetah.gin", "debug.gin"]
    done = train(run, files)
    assert done.returncode == 0, done.stderr
    assert str(run) in done.stdout
    for number in range(1, 5):
        assert f"episode {number}/4 | {number * 1000} env steps" in done.stderr
    assert "evaluation after 4 episodes, 4000 env steps" in done.stderr
    assert names(run) == [
        "checkpoints",
        "config.gin",
        "episodes",
        "policy",
        "run.json",
        "scalars.jsonl",
        "tensorboard",
    ]
    assert names(run / "episodes" / "train") == [f"00000{i}-251.npz" for i in range(4)]
    assert names(run / "episodes" / "heldout") == [f"00000{i}-251.npz" for i in range(2)]
    assert {"saved_model.pb", "policy_specs.pbtxt", "variables"} <= set(names(run / "policy"))
    assert "train.task = 'cheetah_run'" in (run / "config.gin").read_text()

    found = lines(run)
    assert {key for line in found for key in line} == TAGS | COUNTERS
    assert all(np.isfinite(x) for line in found for x in line.values())
    assert tensorboard_tags(run) == TAGS | PICTURES
    for line in found:  # 250 agent steps an episode, repeat 4
        assert line["agent_steps"] == 250 * line["episodes"]
        assert line["env_steps"] == 4 * line["agent_steps"]
        assert line["updates"] == 3 * max(line["episodes"] - 2, 0)
    returns = [line["collect/return"] for line in found if "collect/return" in line]
    for number, total in enumerate(returns):
        with np.load(run / "episodes" / "train" / f"00000{number}-251.npz") as episode:
            np.testing.assert_allclose(total, episode["reward"].sum(), rtol=1e-5)
    before = checkpoint(run, 4)
    assert value(before, "agent/_train_step_counter") == 6
    assert value(before, "optimizer/_iterations") == 6

    again = train(run, files)
    assert again.returncode == 0, again.stderr
    assert "resumed" in again.stderr and "episode 4 of 4, update 6" in again.stderr
    assert "complete" in again.stderr and "train.episodes" in again.stderr
    assert lines(run) == found

    on = train(run, files, ["train.episodes=7", "train.environments=2"])
    assert on.returncode == 0, on.stderr
    assert "episode 4 of 7, update 6" in on.stderr and "episode 4/7" not in on.stderr
    for number in (5, 6, 7):
        assert f"episode {number}/7 | {number * 1000} env steps" in on.stderr
    assert "evaluation after 6 episodes" in on.stderr and "evaluation after 7" in on.stderr
    last = lines(run)[-1]
    assert {key: last[key] for key in COUNTERS - {"time"}} == {
        "updates": 15,
        "episodes": 7,
        "agent_steps": 1750,
        "env_steps": 7000,
    }
    after = checkpoint(run, 7)
    assert value(after, "optimizer/_iterations") == 15
    assert value(checkpoint(run, 6), "optimizer/_iterations") == 12
    assert len(names(run / "episodes" / "train")) == 7


@pytest.fixture(scope="module")
def pair():
    """Two environments in processes: runs share them, for starting them takes seconds."""
    with environments.load("dot_goal", count=2) as env:
        yield env


@pytest.fixture(params=[1, 2])
def count(request, monkeypatch):
    """Has runs act in one environment, or in two at once."""
    if request.param == 2:
        env = request.getfixturevalue("pair")
        monkeypatch.setattr(env, "close", lambda: None)
        monkeypatch.setattr(environments, "load", lambda *_, **__: env)
    gin.bind_parameter("train.environments", request.param)
    return request.param


def test_a_resumed_run_is_the_run_that_was_not_stopped(quick, count, tmp_path, capsys, checkpoint):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    quick(whole, train__episodes=5)
    quick(parts, train__episodes=4)
    quick(parts, train__episodes=5)
    assert "episode 4 of 5, update 6" in capsys.readouterr().err
    expected, got = checkpoint(whole, 5), checkpoint(parts, 5)
    assert value(got, "optimizer/_iterations") == 9
    assert expected.keys() == got.keys()
    for key, values in expected.items():
        np.testing.assert_array_equal(got[key], values, err_msg=key)
    for kind in ("train", "heldout"):
        for path in (whole / "episodes" / kind).iterdir():
            with np.load(path) as one, np.load(parts / "episodes" / kind / path.name) as two:
                for key in one.files:
                    np.testing.assert_array_equal(one[key], two[key], err_msg=path.name)

    # Stopped between the episode and its checkpoint: the episode counts, its updates are lost.
    for path in (parts / "checkpoints").glob("ckpt-5.*"):
        path.unlink()
    state = parts / "checkpoints" / "checkpoint"
    state.write_text('model_checkpoint_path: "ckpt-4"\nall_model_checkpoint_paths: "ckpt-4"\n')
    quick(parts, train__episodes=6)
    assert "episode 5 of 6, update 6" in capsys.readouterr().err
    last = lines(parts)[-1]
    assert (last["episodes"], last["agent_steps"], last["updates"]) == (6, 300, 9)
    assert value(checkpoint(parts, 6), "optimizer/_iterations") == 9


def test_random_collection_leaves_the_policy_unused(quick, tmp_path, monkeypatch):
    asked = []
    act = policy.PlanetPyPolicy._action

    def spy(self, *arguments, **settings):
        asked.append(self._policy.exploration_noise > 0)
        return act(self, *arguments, **settings)

    monkeypatch.setattr(policy.PlanetPyPolicy, "_action", spy)
    quick(tmp_path, train__random_collection=True, train__episodes=5)
    assert asked.count(True) == 1  # when it was tried, before anything
    actions = []
    for path in sorted((tmp_path / "episodes" / "train").iterdir()):
        with np.load(path) as episode:
            actions.append(episode["action"][1:])
    assert len(actions) == 5 and len(np.unique(actions)) == np.size(actions)
    assert stats.kstest(np.ravel(actions), stats.uniform(-1, 2).cdf).pvalue > 0.01
    found = lines(tmp_path)
    assert {key for line in found for key in line} == (TAGS | COUNTERS) - {"time/decision_ms"}
    assert [line["updates"] for line in found if "train/loss" in line] == [3, 6, 9]


def test_a_loss_that_is_not_finite_ends_the_run(quick, train, tmp_path, checkpoint):
    with pytest.raises(FloatingPointError, match="loss.* in update [123];"):
        quick(tmp_path / "rate", PlanetAgent__learning_rate=1e30)
    gin.bind_parameter("PlanetAgent.learning_rate", 1e-3)

    run = tmp_path / "run"
    quick(run, train__episodes=3)
    before = checkpoint(run, 3)
    files = ["dot_goal.gin", "debug.gin"]
    done = train(run, files, ["train.episodes=4", "PlanetAgent.learning_rate=1e36"])
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "settings changed since: " in done.stderr
    assert "PlanetAgent.learning_rate: 0.001 -> 1e+36" in done.stderr
    assert "error: loss" in done.stderr and "in update 5;" in done.stderr
    assert str(run) in done.stderr.split("error: ")[1]
    assert names(run / "checkpoints") == [
        "checkpoint",
        "ckpt-3.data-00000-of-00001",
        "ckpt-3.index",
    ]
    for key, values in checkpoint(run, 3).items():
        np.testing.assert_array_equal(before[key], values)
    assert all(np.all(np.isfinite(x)) for key, x in before.items() if "world_model" in key)


@pytest.mark.parametrize(
    ("setting", "bad", "expected"),
    [
        ("train__task", "dot_gaol", "did you mean 'dot_goal'"),
        ("train__batch_size", 0, r"train\.batch_size.*at least 1, got 0"),
        ("train__episodes", 2.5, r"train\.episodes.*whole number.*2\.5"),
        ("train__updates_per_episode", True, r"train\.updates_per_episode.*whole number"),
        ("train__seed", -1, r"train\.seed.*at least 0"),
        ("train__environments", 0, r"train\.environments.*at least 1, got 0"),
        ("train__environments", 1.5, r"train\.environments.*whole number.*1\.5"),
        ("train__chunk_length", 1, r"train\.chunk_length.*at least 2"),
        ("train__task", (), "no task"),
        ("train__task", 7, "a name or a tuple of names, got 7"),
        ("train__task", ("dot_goal", "dot_gaol"), "did you mean 'dot_goal'"),
        ("train__task", ("dot_goal", "dot_goal"), "each task once"),
        (
            "train__random_collection",
            "no",
            r"train\.random_collection.*one of True, False, got 'no'",
        ),
        ("load_environment__observations", ("images",), r"observations.*'image' or 'state'"),
        ("train__device", "gpu", "finds no GPU.*planet_tf\\[gpu\\].*'auto'"),
        ("train__device", "tpu", "auto, cpu, gpu, got 'tpu'"),
        ("train__jit_compile", "yes", r"train\.jit_compile.*one of True, False, None, got 'yes'"),
        ("train__chunk_length", 52, r"52.*51 frames"),
        ("load_environment__action_repeat", 51, "action_repeat"),
        ("cem__elites", 21, r"cem\.elites \(21\).*cem\.candidates \(20\)"),
        ("Decoder__filters", (8, 8), "Decoder"),
        ("WorldModel__image_size", 48, "48"),
        ("PlanetAgent__learning_rate", "fast", "fast"),
        ("PlanetAgent__final_learning_rate", -1e-3, "final_learning_rate"),
        ("ReplayBuffer__capacity", 0, "capacity"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(quick, tmp_path, setting, bad, expected):
    with pytest.raises(config.ConfigError, match=expected):
        quick(tmp_path / "run", **{setting: bad})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("setting", "other", "change"),
    [
        ("train__seed", 1, "seed: 0 -> 1"),
        ("load_environment__action_repeat", 2, "action_repeat: 1 -> 2"),
        ("WorldModel__free_nats", 1.0, r"WorldModel\.free_nats: 3\.0 -> 1\.0"),
        ("WorldModel__latent", "ssm", r"WorldModel\.latent: 'rssm' -> 'ssm'"),
        ("RSSMCell__hidden_size", 24, r"RSSMCell\.hidden_size: 16 -> 24"),
    ],
)
def test_a_directory_belongs_to_one_run_and_one_model(
    quick, toy_run, tmp_path, setting, other, change
):
    run = shutil.copytree(toy_run, tmp_path / "run")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(config.ConfigError, match=f"(?s)another run.*\n  {change}\n.*--root_dir"):
        quick(run, **{setting: other})
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_every_gin_file_is_a_task_or_a_size():
    assert {path.stem for path in (ROOT / "gin").glob("*.gin")} == SETTINGS | set(TASKS)


@pytest.mark.parametrize("file", TASKS)
def test_a_task_file_has_the_papers_settings(file):
    config.parse([str(ROOT / "gin" / f"{file}.gin")], [])
    task, repeat = TASKS[file]
    assert gin.query_parameter("train.task") == task
    environments.check_name(task)
    if repeat is not None:
        env = environments.load(task)
        assert env.action_repeat == repeat
        env.close()
    settings = {
        "train.batch_size": 50,
        "train.chunk_length": 50,
        "train.updates_per_episode": 100,
        "train.seed_episodes": 5,
        "PlanetAgent.learning_rate": 1e-3,
        "PlanetAgent.adam_epsilon": 1e-4,
        "PlanetAgent.clip_norm": 1000.0,
        "PlanetAgent.exploration_noise": 0.3,
        "WorldModel.reward_scale": 10.0,
        "WorldModel.free_nats": 3.0,
        "RSSMCell.stoch_size": 30,
        "RSSMCell.deter_size": 200,
        "cem.horizon": 12,
        "cem.candidates": 1000,
        "cem.elites": 100,
        "cem.iterations": 10,
    }
    assert {name: gin.query_parameter(name) for name in settings} == settings
    for size in ("cpu", "debug"):  # every name in them is right
        config.parse([str(ROOT / "gin" / f"{size}.gin")], [])


def test_updates_and_decisions_are_traced_once(tiny, tmp_path):
    run = runs.Run(tmp_path, "dot_goal", 0, 4, 8, jit_compile=False)
    run.open(episodes=9)
    run.collect_random()
    run.hold_out_random()
    for _ in range(2):
        run.fit(2)
        run.collect()
        run.evaluate(2)
    for function in (
        run.update,
        run._loss,
        run._predict,
        run.agent.policy._decide_fn,
        run.agent.collect_policy._decide_fn,
        run.policy._policy_action_fn,
        run.collect_policy._policy_action_fn,
    ):
        assert function.experimental_get_tracing_count() == 1, function
    run.close()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_checkpoint_holds_a_model_that_is_not_finite(tiny, tmp_path, value):
    run = runs.Run(tmp_path, "dot_goal", 0, 4, 8, jit_compile=False)
    run.open(episodes=9)
    run.collect_random()
    run.save()
    before = names(tmp_path / "checkpoints")
    variable = run.agent.world_model.variables[0]
    variable.assign(tf.fill(variable.shape, np.float32(value)))
    run.collect_random()
    with pytest.raises(FloatingPointError, match=f"{variable.name} is NaN or infinite after"):
        run.save()
    assert names(tmp_path / "checkpoints") == before
    run.close()
