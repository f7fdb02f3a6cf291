"""What training left is loaded as it was, or refused with the way out."""

import json
import shutil
import sys
import types

import gin
import gymnasium
import helpers
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT
from tf_agents.specs import array_spec

from planet_tf import action_specs, agents, config, errors, training
from planet_tf.agents import building
from planet_tf.environments import rendering
from planet_tf.experience import Collector, run_episodes
from planet_tf.training import exported, loading

pytestmark = pytest.mark.usefixtures("agents_once")


@pytest.fixture
def run(toy_run, tmp_path):
    """A copy of the toy's run without its policy."""
    return shutil.copytree(toy_run, tmp_path / "run", ignore=shutil.ignore_patterns("policy"))


@pytest.fixture(scope="module")
def loaded_policy(toy_run):
    return training.load_policy(toy_run / "policy")


@pytest.fixture
def policy(toy_run, loaded_policy, tmp_path, monkeypatch):
    """A copy of the toy's exported policy; returns its path after changes to its run.json."""
    monkeypatch.setattr(exported, "load_policy", lambda path: loaded_policy)  # once: it takes time
    path = shutil.copytree(toy_run / "policy", tmp_path / "policy")

    def change(**changes):
        identity = json.loads((path / "run.json").read_text())
        (path / "run.json").write_text(json.dumps({**identity, **changes}))
        return path

    return change


def test_a_run_and_its_export_act_alike(toy_run):
    before = {path: path.stat().st_mtime_ns for path in toy_run.rglob("*")}
    gin.bind_parameter("CEM.candidates", 999)  # the run's own settings replace it
    loaded = training.load(toy_run)
    assert gin.query_parameter("CEM.candidates") == 20
    assert (loaded.collector.env.name, loaded.updates) == ("dot_goal", 6)
    exported = training.load(toy_run / "policy")
    assert exported.agent is None and exported.updates == 6
    assert exported.collector.env.name == "dot_goal"
    one, two = (
        run_episodes(each.collector.env, each.policy, helpers.sequences(1))[0]
        for each in (loaded, exported)
    )
    helpers.assert_same(one, two, atol=1e-4)
    assert {path: path.stat().st_mtime_ns for path in toy_run.rglob("*")} == before


def test_an_agent_is_loaded_from_any_checkpoint(toy_run, checkpoint):
    for number, updates in ((3, 3), (None, 6)):
        agent, identity = loaded = training.load_agent(toy_run, number)
        assert loaded.updates == updates and identity["task"] == "dot_goal"
        values = checkpoint(toy_run, number or 4)
        kernel = next(v for v in agent.world_model.variables if v.name.endswith("kernel:0"))
        assert any(
            value.shape == kernel.shape and np.array_equal(value, kernel)
            for value in values.values()
            if isinstance(value, np.ndarray)
        )


def test_bindings_change_how_a_loaded_agent_plans(toy_run):
    agent, _ = training.load_agent(toy_run, bindings=["CEM.candidates = 7", "CEM.elites = 2"])
    assert agent.policy.planner.candidates == 7


@pytest.mark.parametrize(
    "binding",
    [
        "train.task='walker_walk'",
        "train.seed = 3",
        "load_environment.observations=('state',)",
        "PlanetAgent.clip_norm = 1.0",
        "GaussianNoise.std = 0.1",
        "collect/CEM.horizon = 3",
        "memory/ICEM.std = 0.5",
    ],
)
def test_bindings_without_effect_are_refused(toy_run, binding):
    with pytest.raises(errors.ConfigError) as error:
        training.load_agent(toy_run, bindings=["CEM.clip = False", binding])
    assert error.value.setting == binding.partition("=")[0].strip()


@pytest.mark.parametrize("jit_compile", [None, True])
def test_xla_is_used_as_in_training(toy_run, monkeypatch, jit_compile):
    used = []

    def refuse(identity, jit_compile):
        used.append(jit_compile)
        raise errors.ConfigError("enough")

    monkeypatch.setattr(building, "make_agent", refuse)
    with pytest.raises(errors.ConfigError):
        training.load_agent(toy_run, bindings=[f"train.jit_compile = {jit_compile}"])
    assert used == [bool(jit_compile)]


def test_loading_an_agent_needs_no_renderer(run, monkeypatch):
    for file in ("run.json", "config.gin"):  # a task whose images need one
        text = (run / file).read_text()
        (run / file).write_text(text.replace("dot_goal", "cheetah_run"))

    def fail():
        raise errors.RenderingError("no backend works")

    monkeypatch.setattr(rendering, "choose", fail)
    agent, identity = training.load_agent(run)
    assert identity["task"] == "cheetah_run" and agent.world_model.reads == "image"
    with pytest.raises(errors.RenderingError):  # its environment does
        training.load(run)


def test_what_is_no_run_is_refused(run, policy, tmp_path):
    for path, arguments, named in (
        (tmp_path / "nothing", {}, "nothing"),
        (run, {"checkpoint": 1}, r"\[4, 3\]"),
        (policy(), {"checkpoint": 3}, "3"),
        (_without_settings(policy()), {"bindings": ["CEM.clip = False"]}, "without its settings"),
    ):
        with pytest.raises(errors.ConfigError, match=named):
            training.load(path, **arguments)
    for path in (tmp_path / "nothing", policy()):
        with pytest.raises(errors.ConfigError, match=path.name):
            training.load_agent(path)


@pytest.mark.parametrize("arguments", [{}, {"bindings": ["CEM.clip = False"]}, {"checkpoint": 3}])
def test_a_mistyped_path_is_named(tmp_path, arguments):
    with pytest.raises(errors.ConfigError, match="typo holds neither a run"):
        training.load(tmp_path / "typo", **arguments)


def test_a_run_is_told_from_its_policy(run):
    with pytest.raises(errors.ConfigError) as error:
        training.load_policy(run)
    assert error.value.message == f"{run} is a run, not an exported policy"
    assert str(run / "policy") in error.value.hint


def _without_settings(policy):
    """As older versions exported it."""
    (policy / "config.gin").unlink()
    return policy


def test_another_planner_has_the_size_that_the_files_gave_it(toy_run):
    agent, _ = training.load_agent(toy_run, bindings=["PlanetPolicy.planner = @MPPI()"])
    planner = agent.policy.planner  # the paper's size would take minutes per episode
    assert (planner.candidates, planner.iterations, planner.horizon) == (20, 2, 4)


def test_the_model_of_an_exported_policy_is_given_another_planner(toy_run):
    agent, identity = loaded = training.load_agent(
        toy_run / "policy", bindings=["CEM.clip = False"]
    )
    assert loaded.updates == 6 and identity["task"] == "dot_goal"
    assert agent.policy.planner.candidates == 20 and not agent.policy.planner.clip
    trained, _ = training.load_agent(toy_run)
    pairs = zip(agent.world_model.variables, trained.world_model.variables, strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)
    scored = training.load(toy_run / "policy", bindings=["CEM.clip = False"])
    assert scored.agent is not None and scored.collector.env.name == "dot_goal"


@pytest.mark.parametrize("named", [True, False])
def test_parameters_are_paired_by_name_or_else_by_order(agent, named):
    variables = list(agent.world_model.variables)
    values = [tf.Variable(v + 1, name=v.name[:-2] if named else "Variable") for v in variables]
    if named:
        values.reverse()
    pairs = exported._paired(agent.world_model, values)
    assert len(pairs) == len(variables)
    for variable, value in pairs:
        np.testing.assert_array_equal(variable + 1, value)
    assert exported._paired(agent.world_model, values[:-1])[-1][1] is None


def test_a_policy_that_does_not_fit_its_settings_is_refused(toy_run):
    with pytest.raises(errors.ConfigError, match=r"do not fit its config\.gin"):
        training.load_agent(toy_run / "policy", bindings=["RSSMCell.deter_size = 17"])
    for number in (3, "best"):
        with pytest.raises(errors.ConfigError, match=f"no checkpoint {number!r}"):
            training.load_agent(toy_run / "policy", number)


def test_a_run_without_a_checkpoint_is_refused(run):
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(errors.ConfigError, match=str(run)):
        training.load_agent(run)


def test_a_run_of_an_older_version_is_refused(run):
    identity = json.loads((run / "run.json").read_text())
    del identity["action_size"]
    (run / "run.json").write_text(json.dumps({**identity, "observations": ["image"]}))
    with pytest.raises(errors.ConfigError, match=str(run)):
        training.load_agent(run)


def test_settings_that_do_not_fit_the_checkpoint_are_refused(run):
    with pytest.raises(errors.ConfigError, match="ckpt-4"):
        training.load_agent(run, bindings=["Decoder.units = 24"])


@pytest.mark.parametrize("task", ["cheetah_run", "cartpole_swingup"])
def test_another_task_must_fit(run, task, monkeypatch):
    closed = []
    monkeypatch.setattr(Collector, "close", lambda self: closed.append(self.env.name))
    with pytest.raises(errors.ConfigError, match=task) as error:
        training.load(run, task)
    assert error.value.setting == "--task" and closed == [task]


def index(count):
    """The action of an exported policy of choices."""
    return array_spec.BoundedArraySpec((), np.int32, minimum=0, maximum=count - 1)


@pytest.mark.parametrize(
    ("given", "wanted", "said"),
    [
        (action_specs.vector(2), action_specs.vector(2, True), ("(2,) in [-1, 1]", "one of 2")),
        (action_specs.vector(2, True), action_specs.vector(2), ("one of 2", "(2,) in [-1, 1]")),
        (action_specs.vector(2, True), action_specs.vector(3, True), ("one of 2", "one of 3")),
        (action_specs.vector(2), index(2), ("(2,) in [-1, 1]", "one of 2")),
        (index(2), index(3), ("one of 2", "one of 3")),
    ],
)
def test_actions_must_be_of_one_kind_and_number(tmp_path, given, wanted, said):
    seen = {"state": array_spec.ArraySpec((4,), np.float32)}
    env, policy = (
        types.SimpleNamespace(
            name="task",
            action_spec=spec,
            observation_spec=lambda: seen,
            time_step_spec=types.SimpleNamespace(observation=seen),
        )
        for spec in (lambda: given, wanted)
    )
    with pytest.raises(errors.ConfigError) as error:
        loading._check_fits(policy, env, tmp_path)
    has, takes = ({"state": (4,), "action": action} for action in said)
    assert f"it has {has}, the policy takes {takes}" in error.value.message
    policy.action_spec = given
    loading._check_fits(policy, env, tmp_path)


def test_a_choice_is_not_padded(policy):
    path = policy(task=["dot_goal", "cartpole_swingup"], action_repeat=[1, 8], camera=[None, 0])
    for task, count in (("own_tasks:Lever", 1), ("own_tasks:Levers", 2)):
        with pytest.raises(errors.ConfigError, match=rf"'one of {count}'.*'\(2,\) in "):
            training.load(path, task)


def test_another_task_that_fits_is_noted(run, capsys):
    loaded = training.load(run, "own_tasks:make")
    assert (loaded.collector.env.name, loaded.collector.env.action_repeat) == ("own_tasks:make", 5)
    said = capsys.readouterr().err
    assert "dot_goal" in said and "own_tasks:make" in said
    with pytest.raises(errors.ConfigError, match="'dot_goal'"):
        training.load(run, "dot_gaol")


def test_a_binding_reaches_a_planner_in_a_scope_or_is_refused():
    path = ROOT / "results" / "policies" / "finger_spin" / "policy"  # its planner: @memory/ICEM()
    loading.parse(path, ["ICEM.candidates = 50"])
    planner = config.value_of(agents.PlanetPolicy, "planner")
    assert (planner.candidates, planner.elites, planner.std) == (50, 10, 1.0)
    with pytest.raises(errors.ConfigError, match="no effect") as error:
        loading.parse(path, ["ICEM.std = 0.5"])
    assert (error.value.setting, error.value.hint) == ("ICEM.std", "set memory/ICEM.std")
    with pytest.raises(errors.ConfigError, match="the planner is memory/ICEM") as error:
        loading.parse(path, ["CEM.candidates = 50"])  # of another planner
    assert error.value.hint == "set memory/ICEM.candidates"
    with pytest.raises(errors.ConfigError, match="the planner is memory/ICEM") as error:
        loading.parse(path, ["MPPI.temperature = 2.0"])  # which this planner does not have
    assert error.value.hint == "PlanetPolicy.planner = @MPPI() chooses another"
    loading.parse(path, ["PlanetPolicy.planner = @CEM()", "CEM.candidates = 50"])


def test_a_binding_may_change_the_action_repeat(run, capsys):
    loaded = training.load(run, bindings=["load_environment.action_repeat = 2"])
    assert loaded.env.action_repeat == 2
    assert "action_repeat 1" in capsys.readouterr().err


def test_an_exported_policy_knows_what_it_was_trained_on(policy, capsys):
    path = policy(action_repeat=5)
    for task in (None, "dot_goal"):
        assert training.load(path, task).collector.env.action_repeat == 5
    assert capsys.readouterr().err == ""


class Film(gymnasium.Env):
    """Shows what the toy's policy sees, and takes its actions."""

    observation_space = gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,))


def make_film(seed, observations):
    """A custom task's function that takes no action repeat."""
    return gymnasium.wrappers.TimeLimit(Film(), 10)


def test_an_exported_policy_knows_the_action_repeat_of_a_gymnasium_task(policy, monkeypatch):
    monkeypatch.setitem(sys.modules, "my_film", sys.modules[__name__])
    path = policy(task="my_film:make_film", action_repeat=2)
    for bindings in ((), ["CEM.clip = False"]):
        env = training.load(path, bindings=bindings).collector.env
        assert (env.action_repeat, env.max_steps) == (2, 5)


def test_a_policy_of_several_tasks_needs_one(policy):
    path = policy(task=["dot_goal", "cartpole_swingup"], action_repeat=[2, 8], camera=[None, 0])
    with pytest.raises(errors.ConfigError, match="dot_goal, cartpole_swingup") as error:
        training.load(path)
    assert error.value.setting == "--task"
    assert training.load(path, "dot_goal").collector.env.action_repeat == 2
    env = training.load(path, "cartpole_swingup").collector.env  # it has one action, padded to two
    assert env.action_spec().shape == (2,) and env.action_repeat == 8


def test_a_policy_without_its_identity_needs_a_task(policy):
    path = policy()
    (path / "run.json").unlink()
    with pytest.raises(errors.ConfigError) as error:
        training.load(path)
    assert error.value.setting == "--task"
    env = training.load(path, "dot_goal").collector.env
    assert (env.name, env.action_repeat) == ("dot_goal", 1)


def test_the_environment_may_be_wrapped(toy_run):
    wrapped = []
    loaded = training.load(toy_run, wrap=lambda env: wrapped.append(env) or env)
    assert wrapped == [loaded.collector.env]
