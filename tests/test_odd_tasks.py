"""What users' bug reports were about: odd tasks, odd paths, odd episodes. Each once went wrong."""

import json
import pathlib
import re
import subprocess
import sys
import threading

import gin
import imageio.v3
import numpy as np
import pytest
import tensorflow as tf

from planet_tf import (
    checkpoints,
    config,
    environments,
    evaluation,
    export,
    paths,
    replay,
    runs,
    trained,
    training,
)
from planet_tf.environments import dot_goal

HERE = pathlib.Path(__file__).parent
STATE = ("state",)
EXPORT_POLICY = export.export_policy  # which `quick` replaces


@pytest.fixture(autouse=True)
def _tests_folder_is_on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))


@pytest.fixture(scope="module")
def diverging_run(tmp_path_factory):
    """A tiny run of a task whose physics diverges now and then."""
    sys.path.insert(0, str(HERE))
    root_dir = tmp_path_factory.mktemp("diverging") / "run"
    config.parse(
        [str(HERE.parent / "gin" / name) for name in ("planet.gin", "debug.gin")],
        ["train.task = 'odd_tasks:rail'", "load_environment.observations = ('state',)"],
    )
    training.train(str(root_dir))
    gin.clear_config()
    sys.path.remove(str(HERE))
    return root_dir


def contents(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def seeds(count):
    return np.random.SeedSequence(3).spawn(count)


# Paths.


@pytest.mark.parametrize("name", ["x[12]", "x?", "x*", "a[lr=1]", "a\\b"])
def test_a_directory_that_tensorflow_takes_for_a_pattern_is_refused(quick, toy_run, tmp_path, name):
    for act in (
        quick,
        trained.load,
        trained.load_run,
        trained.load_policy,
        lambda path: EXPORT_POLICY(None, path),
    ):
        with pytest.raises(config.ConfigError, match="wildcard"):
            act(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_no_run_touches_another(quick, tmp_path):
    quick(tmp_path / "x1", train__episodes=3)
    before = contents(tmp_path / "x1")
    with pytest.raises(config.ConfigError, match="wildcard"):
        quick(tmp_path / "x[12]", train__episodes=4)
    assert contents(tmp_path) == before


def test_a_tilde_is_the_home_directory(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert paths.expanded("~/x") == tmp_path / "x"
    config.parse([str(HERE.parent / "gin" / name) for name in ("dot_goal.gin", "debug.gin")], [])
    training.train("~/run")
    assert (tmp_path / "run" / "policy").is_dir() and not (tmp_path / "~").exists()
    assert f"evaluate.py {tmp_path / 'run'}" in capsys.readouterr().out
    assert trained.load("~/run/policy").source.env.name == "dot_goal"
    (tmp_path / "one.gin").write_text("train.seed = 7\n")
    config.parse(["~/one.gin"], [])
    assert gin.query_parameter("train.seed") == 7


def test_a_directory_with_blanks_is_quoted_in_what_to_do_next(quick, tmp_path, capsys):
    quick(tmp_path / "my run", train__episodes=3)
    said = capsys.readouterr().out
    assert f"evaluate.py '{tmp_path / 'my run'}'" in said
    assert "policy (SavedModel)" not in said  # `quick` exports none


# Short episodes, episodes of any length.


def test_training_continues_without_a_long_held_out_episode(quick, tmp_path, capsys):
    bindings = {"train__task": "odd_tasks:Ends", "load_environment__observations": STATE}
    quick(tmp_path, **bindings, train__seed=1)
    assert capsys.readouterr().err.count("no test terms") == 1
    lines = [json.loads(line) for line in (tmp_path / "scalars.jsonl").read_text().splitlines()]
    tags = {tag for line in lines for tag in line}
    assert "train/loss" in tags and not any(tag.startswith("test/") for tag in tags)
    quick(tmp_path, **bindings, train__seed=1, train__episodes=5)  # resumes


def test_episodes_that_are_all_short_name_the_chunk_length(quick, tmp_path):
    bindings = {"train__task": "odd_tasks:EndsSoon", "load_environment__observations": STATE}
    for _ in range(2):
        with pytest.raises(config.ConfigError, match=r"train\.chunk_length \(8\).* at most 4"):
            quick(tmp_path, **bindings)
    quick(tmp_path, **bindings, train__chunk_length=4)


def test_episodes_of_every_length_share_a_graph(tmp_path):
    spec = {"reward": tf.TensorSpec([], tf.float32), "is_first": tf.TensorSpec([], tf.bool)}
    buffer = replay.ReplayBuffer(spec, tmp_path)
    for length in range(2, 12):
        buffer.add_episode(
            {"reward": np.ones(length, np.float32), "is_first": np.arange(length) == 0}
        )
    assert buffer._add_fn.experimental_get_tracing_count() == 1
    assert buffer.longest == replay.ReplayBuffer(spec, tmp_path).longest == 11


# Seeds and cameras.


def returns(env, count=2):
    policy = evaluation.UniformPolicy(env)
    found = [run["reward"].sum() for run in evaluation.run_episodes(env, policy, seeds(count))]
    env.close()
    return found


def test_a_seed_decides_what_is_random_in_making_an_environment():
    name = "odd_tasks:random_model"
    alone = returns(environments.load(name, seed=1, observations=STATE))
    assert returns(environments.load(name, seed=1, observations=STATE)) == alone
    assert returns(environments.load(name, seed=2, observations=STATE)) != alone
    for _ in range(2):
        rows = environments.load(name, seed=1, observations=STATE, count=2)
        np.testing.assert_allclose(returns(rows), alone, rtol=1e-6)


def test_the_picture_of_every_default_camera_shows_the_body():
    env = environments.load("quadruped_walk", seed=0)
    assert env.camera == 2
    env.reset()
    physics = env._env.physics
    segments = physics.render(64, 64, camera_id=env.camera, segmentation=True)[..., 0]
    body = [i for i, b in enumerate(physics.model.geom_bodyid) if physics.model.body_weldid[b]]
    assert np.isin(segments, body).mean() > 0.03
    env.close()


def test_a_camera_is_chosen_by_index_or_name():
    images = [
        environments.load("cheetah_run", seed=0, camera=camera).reset().observation["image"]
        for camera in (None, 0, "side", 1, "back")
    ]
    for image in images[1:3]:
        np.testing.assert_array_equal(image, images[0])
    np.testing.assert_array_equal(images[3], images[4])
    assert not np.array_equal(images[0], images[3])
    for wrong in ("front", 2, -1, True):
        with pytest.raises(ValueError, match=r"cheetah_run: load_environment\.camera.*'side'"):
            environments.load("cheetah_run", camera=wrong)
    with pytest.raises(ValueError, match="dot_goal has one view"):
        environments.load("dot_goal", camera=0)
    with pytest.raises(ValueError, match="unexpected keyword argument 'camera'"):
        environments.load("odd_tasks:rail", camera=0)
    with pytest.raises(ValueError, match="no_camera.* add a <camera>"):
        environments.load("odd_tasks:no_camera")


def test_a_run_keeps_its_camera(quick, tmp_path):
    run = runs.Run(tmp_path, "cheetah_run", 0, 4, 8, False)
    assert run.identity()["camera"] == 0
    quick(tmp_path, train__episodes=3)
    identity = json.loads((tmp_path / "run.json").read_text())
    assert identity["camera"] is None
    (tmp_path / "run.json").write_text(json.dumps({**identity, "camera": 1}))
    with pytest.raises(config.ConfigError, match="camera: 1 -> None"):
        quick(tmp_path, train__episodes=4)


# What tasks observe and reward.


def test_an_observation_may_need_a_first_reset():
    env = environments.load("odd_tasks:target", seed=1, observations=STATE)
    assert env.observation_spec()["state"].shape == (2,)
    first = env.reset().observation["state"]
    env.seed(1)
    np.testing.assert_array_equal(env.reset().observation["state"], first)


def test_a_reward_is_one_number():
    env = environments.load("odd_tasks:array_reward", observations=STATE)
    env.reset()
    assert env.step(np.zeros(1, np.float32)).reward.shape == ()

    class Two(dot_goal.DotGoal):
        def _advance(self, action):
            return np.ones(2), None

    env = Two()
    env.reset()
    with pytest.raises(ValueError, match=r"dot_goal: the reward must be one number, got array"):
        env.step(np.zeros(2, np.float32))


def test_an_environment_belongs_to_the_thread_of_its_first_frame():
    env = environments.load("cartpole_swingup", seed=0)
    thread = threading.Thread(target=env.reset)
    thread.start()
    thread.join()
    for act in (lambda: env.step(np.zeros(1, np.float32)), env.close):
        with pytest.raises(RuntimeError, match="cartpole_swingup: .* in one thread"):
            act()


# Evaluation, pictures, exports.


@pytest.fixture
def evaluate(root, python):
    """Runs scripts/evaluate.py with tests/ in PYTHONPATH: (*arguments)."""

    def run(*arguments, script="evaluate"):
        command = [
            "-c",
            f"import sys; sys.path.insert(0, {str(HERE)!r}); import runpy; "
            f"runpy.run_path({str(root / 'scripts' / f'{script}.py')!r}, run_name='__main__')",
        ]
        return python(*command, *arguments)

    return run


def test_an_episode_that_diverges_is_repeated_and_counted(evaluate, diverging_run, tmp_path):
    config_file = diverging_run / "config.gin"
    text = config_file.read_text()
    config_file.write_text(text.replace("odd_tasks:rail", "odd_tasks:diverges"))
    try:
        done = evaluate(diverging_run, "--episodes=8", f"--json={tmp_path / 'a.json'}")
    finally:
        config_file.write_text(text)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["environment_failures"] == done.stderr.count("discarded") > 0
    assert len(found["returns"]) == found["episodes"] == 8


def test_an_exported_policy_knows_what_it_was_trained_on(tmp_path, quick, toy_run, capsys):
    gin.bind_parameter("load_environment.action_repeat", 5)
    root = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.runs.export, "export_policy", EXPORT_POLICY)
        training.train(str(root))
    (root / "policy").rename(tmp_path / "moved")
    assert trained.load(tmp_path / "moved").source.env.action_repeat == 5
    assert trained.load(tmp_path / "moved", "dot_goal").source.env.action_repeat == 5
    assert "note" not in capsys.readouterr().err
    with pytest.raises(config.ConfigError, match="cartpole_swingup does not fit"):
        trained.load(tmp_path / "moved", "cartpole_swingup")
    trained.load(root, bindings=["load_environment.action_repeat = 1"])
    assert "trained with another action_repeat: 5 -> 1" in capsys.readouterr().err


def test_no_video_of_a_task_without_a_picture(evaluate, diverging_run, tmp_path):
    done = evaluate(diverging_run, f"--video={tmp_path / 'a.gif'}", "--episodes=1")
    assert done.returncode == 0, done.stderr  # from its state, but there is a camera
    text = (diverging_run / "config.gin").read_text()
    (diverging_run / "config.gin").write_text(text.replace("odd_tasks:rail", "odd_tasks:no_camera"))
    try:
        done = evaluate(diverging_run, f"--video={tmp_path / 'b.gif'}", "--episodes=1")
    finally:
        (diverging_run / "config.gin").write_text(text)
    assert done.returncode == 2 and "there is no picture" in done.stderr
    assert "return" not in done.stdout and "Traceback" not in done.stderr


def test_short_episodes_are_drawn_at_their_length(evaluate, quick, tmp_path):
    repeat = {"load_environment__action_repeat": 13, "train__chunk_length": 4}
    quick(tmp_path / "run", **repeat, train__episodes=3)
    done = evaluate(tmp_path / "run", "--episodes=1", f"--video={tmp_path / 'a.gif'}")
    assert done.returncode == 0, done.stderr
    assert "return" in done.stdout and len(imageio.v3.imread(tmp_path / "a.gif")) == 3
    done = evaluate(tmp_path / "run", f"--out={tmp_path / 'b'}", script="imagine")
    assert done.returncode == 0, done.stderr
    assert "has 4 frames: 3 are seen, 1 predicted" in done.stderr
    assert len(imageio.v3.imread(tmp_path / "b.gif")) == 4


@pytest.mark.parametrize("fps", ["0.001", "1000", "nan", "fast"])
@pytest.mark.parametrize("script", ["evaluate", "imagine"])
def test_impossible_frames_per_second_are_refused(evaluate, tmp_path, fps, script):
    done = evaluate(tmp_path, f"--fps={fps}", script=script)
    assert done.returncode == 2 and "must be a number from 0.1 to 100" in done.stderr


def test_settings_of_a_script_are_found_by_the_commands_it_prints(python, root, tmp_path):
    (tmp_path / "custom.py").write_text(
        "import gin, tensorflow as tf\n"
        "from planet_tf import config, trained, training\n"
        "@gin.configurable\n"
        "def flat(size=8):\n"
        "    return tf.keras.Sequential([tf.keras.layers.Flatten(), tf.keras.layers.Dense(size)])\n"
        "if __name__ == '__main__':\n"
        f"    files = {[str(root / 'gin' / f'{name}.gin') for name in ('dot_goal', 'debug')]!r}\n"
        "    config.parse(files, ['WorldModel.encoder = @flat', 'flat.size = 9'])\n"
        f"    training.train({str(tmp_path / 'run')!r})\n"
        f"    trained.load_run({str(tmp_path / 'run')!r})\n"
    )
    done = python(tmp_path / "custom.py")
    assert done.returncode == 0, done.stderr
    evaluate, imagine, _ = re.findall(r"(?m)^(?:next:)? +(.*)$", done.stdout)
    assert evaluate.startswith(f"PYTHONPATH={tmp_path} ")
    for command in (evaluate.replace("evaluation.gif", str(tmp_path / "a.gif")), imagine):
        command = command.replace("python ", f"{sys.executable} ")
        done = subprocess.run(command, shell=True, cwd=root, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    done = python(root / "scripts" / "evaluate.py", tmp_path / "run")
    assert done.returncode == 2 and "No module named 'custom': PYTHONPATH" in done.stderr


def test_a_name_that_nothing_defines_says_what_to_import():
    with pytest.raises(config.ConfigError, match="--gin_bindings='import MODULE'"):
        config.parse([], ["WorldModel.encoder = @patch_encoder"])


def test_a_checkpoint_that_does_not_fit_is_one_error(tmp_path):
    many = {f"v{i}": tf.Variable(1.0) for i in range(3)}
    checkpoints.Checkpoints(tmp_path, **many).save(1)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, tensorflow as tf\n"
            "from planet_tf import checkpoints\n"
            "try:\n"
            f"    checkpoints.Checkpoints({str(tmp_path)!r}, v0=tf.Variable(1.0)).restore()\n"
            "except ValueError as error:\n"
            "    print(error)\n",
        ],
        cwd=HERE.parent,
        env={**__import__("os").environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert "does not fit" in done.stdout and "WARNING" not in done.stderr, done.stderr
