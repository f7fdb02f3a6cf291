"""What docs/using.md and the README show in Python runs as it stands there, at debug size."""

import re
import runpy
import sys

import numpy as np
import pytest
import tensorflow as tf

from planet_tf import runs
from tests.conftest import ROOT

FILES = ("slider.py", "tank.py", "patches.py", "plan.py", "robot.py")
SMALLER = """
train.episodes = 3
train.export_every = 99
cem.horizon = 2
StateEncoder.units = 16
StateDecoder.units = 16
"""
LIBRARIES = ("planet_tf", "tf_agents", "tensorflow_probability", "gin", "dm_control")


def blocks(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A reader's folder: each block in its file; the repository's gin files, cpu.gin smaller."""
    folder = tmp_path_factory.mktemp("reader")
    for block in blocks("docs/using.md"):
        name = re.match(r'"""(\w+\.py): ', block)
        assert name, f"this block is no file:\n{block}"
        (folder / name[1]).write_text(block, encoding="utf-8")
    (folder / "gin").mkdir()
    for name in ("planet", "dot_goal"):
        (folder / "gin" / f"{name}.gin").symlink_to(ROOT / "gin" / f"{name}.gin")
    debug = (ROOT / "gin" / "debug.gin").read_text(encoding="utf-8")
    (folder / "gin" / "cpu.gin").write_text(debug + SMALLER)
    return folder


@pytest.fixture
def run_here(folder, monkeypatch):
    """Runs a file of the folder in this process, as `python FILE` would; returns its globals."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    yield lambda name: runpy.run_path(name, run_name="__main__")
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py"), None)


def test_every_block_is_run_here(folder):
    assert {path.name for path in folder.glob("*.py")} == set(FILES)
    assert len(blocks("docs/using.md")) == len(FILES)
    assert len(blocks("README.md")) == 2


def test_a_task_of_dm_control_and_its_policy_on_a_robot(run_here, python, folder, capsys):
    run_here("slider.py")
    assert "runs/slider: policy" in capsys.readouterr().out
    blocked = "".join(f"sys.modules[{name!r}] = None\n" for name in LIBRARIES)
    (folder / "alone.py").write_text(f"import sys\n{blocked}import robot\n")
    done = python("alone.py", cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.fullmatch(r"stopped\n25 steps, \d+ late\n", done.stdout)

    # The README's, with the same policy.
    (folder / "runs" / "cartpole_swingup-cpu").symlink_to(folder / "runs" / "slider")
    block = next(block for block in blocks("README.md") if "saved_model" in block)
    scope = {}
    exec(block, scope)
    image = np.zeros([64, 64, 3], np.uint8)
    actions = [scope["act"](image, first) for first in (True, False)]
    for action in actions:
        assert action.shape == (1,) and np.all(np.abs(action) <= 1)
    assert actions[0] != actions[1]


def test_a_task_of_tf_agents(run_here, folder, monkeypatch):
    monkeypatch.setattr(runs.export, "export_policy", lambda *_, **__: None)
    made = run_here("tank.py")["make"](seed=1)
    made.reset()
    level = made._env._level[0]
    step = made.step(np.array([1.0], np.float32))
    expected = level + 0.1 * (0.5 - 0.3 * level**0.5)
    np.testing.assert_allclose(step.observation["state"], [expected], rtol=1e-6)
    np.testing.assert_allclose(step.reward, np.exp(-50 * (expected - 0.5) ** 2), rtol=1e-5)
    assert '"task": "tank:make"' in (folder / "runs" / "tank" / "run.json").read_text()


def test_an_encoder(run_here, folder):
    run_here("patches.py")
    run = folder / "runs" / "dot_goal-patches"
    settings = (run / "config.gin").read_text()
    assert "WorldModel.encoder = @patch_encoder" in settings
    assert "patch_encoder.filters = 64" in settings
    shapes = [shape for _, shape in tf.train.list_variables(str(run / "checkpoints"))]
    assert [8, 8, 3, 64] in shapes and [8 * 8 * 64, 256] in shapes
    assert (run / "policy" / "saved_model.pb").exists()


def test_the_planner(run_here):
    scope = run_here("plan.py")
    assert np.all(np.abs(scope["position"]) < 0.1) and np.all(np.abs(scope["velocity"]) < 0.2)


def test_environments_from_the_readme():
    block = next(block for block in blocks("README.md") if "environments.load" in block)
    scope = {}
    exec(block, scope)
    assert scope["step"].observation["image"].shape == (64, 64, 3)
    assert scope["env"].observation_spec()["state"].shape == (17,)
