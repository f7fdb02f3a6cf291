"""Every Python block in README and docs runs, and docs/configuration.md is up to date."""

import importlib.util
import json
import pathlib
import re
import runpy
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT

import planet_tf
from planet_tf import agents, config, training
from planet_tf.seeds import RowSeeds
from planet_tf.training import learner, run as runs

SMALLER = """
include 'debug.gin'
train.episodes = 3
StateEncoder.units = 16
StateDecoder.units = 16
"""
LIBRARIES = ("planet_tf", "tf_agents", "tensorflow_probability", "gin", "dm_control")


def blocks(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def files():
    """The blocks that are complete files, by name."""
    pages = sorted(path.relative_to(ROOT) for path in (ROOT / "docs").glob("*.md"))
    found = {}
    for page in pages:
        for block in blocks(page):
            if name := re.match(r'"""(\w+\.py): ', block):
                found[name[1]] = block
            else:
                assert page.name == "policies.md", f"{page}: this block is not a file:\n{block}"
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A reader's folder with every file of the docs, and a cpu.gin that is smaller."""
    folder = tmp_path_factory.mktemp("reader")
    for name, block in files().items():
        (folder / name).write_text(block, encoding="utf-8")
    for size in ("cpu.gin", "cpu_state.gin"):
        (folder / size).write_text(SMALLER)
    (folder / "debug.gin").symlink_to(ROOT / "gin" / "debug.gin")
    return folder


@pytest.fixture
def run_here(folder, monkeypatch):
    """Runs a file of the folder in this process, as `python FILE` would; returns its globals."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    yield lambda name: runpy.run_path(name, run_name="__main__")
    for name in files():
        sys.modules.pop(name.removesuffix(".py"), None)


@pytest.fixture
def briefly(monkeypatch):
    """Leaves out of training what the block at hand has no part in; lists policies to export."""
    exported = []
    monkeypatch.setattr(runs, "export_policy", lambda policy, *_, **__: exported.append(policy))
    monkeypatch.setattr(learner.Learner, "test", lambda *_: {"test/loss": 1.0})
    monkeypatch.setattr(learner.Learner, "predict", lambda *_: None)
    return exported


@pytest.fixture
def untrained(briefly, monkeypatch):
    """Leaves out updates as well."""

    def fit(self, replay, updates, progress):
        self.agent.train_step_counter.assign_add(updates)
        return {"train/loss": 1.0, "train/gradient_clipped": 0.0, "time/updates_per_second": 1.0}

    monkeypatch.setattr(learner.Learner, "fit", fit)
    return briefly


def test_every_file_of_the_docs_is_run_here():
    names = {"slider.py", "tank.py", "patches.py", "plan.py", "greedy.py", "robot.py"}
    assert set(files()) == names | {"thermostat.py", "effort.py", "look.py"}


def test_dm_control_task_and_its_policy_on_a_robot(run_here, python, folder, capsys):
    run_here("slider.py")
    assert "runs/slider: policy" in capsys.readouterr().out
    env = training.load("runs/slider").collector.env  # as `planet-tf evaluate` does
    assert (env.name, env.action_repeat, env.camera) == ("slider:make", 4, 0)
    blocked = "".join(f"sys.modules[{name!r}] = None\n" for name in LIBRARIES)
    at_once = "import time\ntime.sleep = lambda seconds: None\n"
    (folder / "alone.py").write_text(f"import sys\n{blocked}{at_once}import robot\n")
    done = python("alone.py", cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.fullmatch(r"stopped\n25 steps, \d+ late\n", done.stdout)

    # docs/policies.md, with a policy whose planner has memory.
    (folder / "runs" / "cartpole_swingup-cpu").symlink_to(ROOT / "results/policies/finger_spin")
    (block,) = blocks("docs/policies.md")
    scope = {}
    exec(block, scope)
    image = np.zeros([64, 64, 3], np.uint8)
    actions = [scope["act"](image, first) for first in (True, False)]
    for action in actions:
        assert action.shape == (2,) and np.all(np.abs(action) <= 1)
    assert np.any(actions[0] != actions[1])
    assert "planner/mean" in scope["state"]


def test_gymnasium_task(run_here, folder, untrained):
    env = run_here("thermostat.py")["make"]().unwrapped
    env.reset(seed=1)
    env.room, env.outside = 10.0, -10.0
    (room, outside), reward, burst, *_ = env.step(1)
    assert (room, outside, burst) == pytest.approx((-1.8, -1.0, False))  # 10 - 1 + 2 = 11 degrees
    assert reward == pytest.approx(np.exp(-81 / 4))
    identity = json.loads((folder / "runs" / "thermostat" / "run.json").read_text())
    assert identity["discrete"] and identity["terminates"]
    (policy,) = untrained  # to export
    assert policy.discrete


def test_tf_agents_task(run_here, folder, untrained):
    made = run_here("tank.py")["make"](seed=1)
    made.reset()
    level = made._env._level[0]
    step = made.step(np.array([1.0], np.float32))
    expected = level + 0.1 * (0.5 - 0.3 * level**0.5)
    np.testing.assert_allclose(step.observation["state"], [expected], rtol=1e-6)
    np.testing.assert_allclose(step.reward, np.exp(-50 * (expected - 0.5) ** 2), rtol=1e-5)
    assert '"task": "tank:make"' in (folder / "runs" / "tank" / "run.json").read_text()


def test_custom_encoder(run_here, folder, briefly):
    run_here("patches.py")
    run = folder / "runs" / "dot_goal-patches"
    settings = (run / "config.gin").read_text()
    assert settings.startswith("import patches\n")
    assert "WorldModel.encoder = @patch_encoder" in settings
    shapes = [shape for _, shape in tf.train.list_variables(str(run / "checkpoints"))]
    assert [8, 8, 3, 64] in shapes and [8 * 8 * 64, 256] in shapes


def test_planner_alone(run_here):
    scope = run_here("plan.py")
    assert np.all(np.abs(scope["position"]) < 0.1) and np.all(np.abs(scope["velocity"]) < 0.2)


def test_custom_planner(run_here, folder, untrained):
    run_here("greedy.py")
    assert untrained[-1].get_initial_state(2)["planner"]["rest"].shape == (2, 8, 2)


def test_custom_objective(run_here, monkeypatch):
    monkeypatch.setattr(planet_tf, "train", lambda root: None, raising=False)
    run_here("effort.py")
    objective = config.value_of(agents.PlanetPolicy, "objective")
    model = types.SimpleNamespace(
        cell=types.SimpleNamespace(stoch_size=2),
        imagined_return=lambda state, action, noise: tf.ones(len(action)),
    )
    score = objective.score_from(model, {"stoch": tf.zeros([1, 2])}, None)
    candidates = tf.constant([[[[0.5], [1.0]], [[0.0], [0.0]]]])
    scores = score(candidates, RowSeeds(tf.constant([[0, 1]])))
    np.testing.assert_allclose(scores, [[1 - 0.01 * (0.25 + 1.0), 1.0]], rtol=1e-6)


def test_predictions(run_here, folder, capsys):
    (folder / "results").symlink_to(ROOT / "results")
    error = run_here("look.py")["error"]
    assert "reward error 1 step ahead" in capsys.readouterr().out
    assert error.shape == (51,) and np.mean(error[5:10]) < 0.1  # rewards are from 0 to 1


def test_readme_block_loads_and_acts(monkeypatch):
    monkeypatch.chdir(ROOT)
    (block,) = blocks("README.md")
    scope = {}
    exec(block, scope)
    assert scope["episode"]["image"].shape == (51, 64, 64, 3)


def test_configuration_page_is_up_to_date():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert generate.PAGE.read_text(encoding="utf-8") == generate.page(), "run `make docs`"


def test_docs_have_no_broken_link(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_readme_links_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)\)", text)
    missing = [x for x in links if "://" not in x and not (ROOT / x).exists()]
    assert links and not missing


def test_cloud_cluster_is_what_ray_takes():
    # Ray is not imported: for other tests that would be too early.
    if not (ray := importlib.util.find_spec("ray")):
        pytest.skip("needs the extra cluster")
    jsonschema, yaml = pytest.importorskip("jsonschema"), pytest.importorskip("yaml")
    text = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"(?ms)^```yaml\n(.*?)^```$", text)
    schema = pathlib.Path(ray.origin).parent / "autoscaler" / "ray-schema.json"
    jsonschema.validate(yaml.safe_load(block), json.loads(schema.read_text()))
