"""The SavedModel: in a process that has TensorFlow and NumPy only, it acts as the policy does."""

import inspect
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from helpers import Smooth, names, sequences
from tf_agents.policies import policy_saver, py_tf_eager_policy
from tf_agents.trajectories import time_step as ts

from planet_tf import environments, errors
from planet_tf.agents import GaussianNoise, PlanetPolicy, export_policy
from planet_tf.experience import rollout

IMAGE = "0/observation/image"


def flat(tree, prefix):
    """Returns the leaves of a nest of dicts by their names in a signature."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    return {k: v for name in tree for k, v in flat(tree[name], f"{prefix}/{name}").items()}


def nested(x, prefix):
    """Returns the nest of dicts that `flat` made flat."""
    tree = {}
    for key, value in x.items():
        first, *path, last = key.split("/")
        part = tree
        for name in path if first == prefix else ():
            part = part.setdefault(name, {})
        if first == prefix:
            part[last] = value
    return tree


# For each directory in sys.argv[1:]: acts on DIRECTORY.in.npz, writes DIRECTORY.out.npz.
ACTOR = f"""
import collections, sys

for name in ("planet_tf", "tf_agents", "tensorflow_probability", "gin", "dm_control", "tf_keras"):
    sys.modules[name] = None  # cannot be imported

import numpy as np
import tensorflow as tf

TimeStep = collections.namedtuple("TimeStep", "step_type reward discount observation")

{inspect.getsource(flat)}
{inspect.getsource(nested)}
for directory in sys.argv[1:]:
    model = tf.saved_model.load(directory)
    inputs, outputs = dict(np.load(directory + ".in.npz")), {{}}
    for rows in inputs.pop("rows"):
        x = {{key: tf.constant(value[:rows]) for key, value in inputs.items()}}
        out = model.action(TimeStep(**nested(x, "0")), nested(x, "1"))
        outputs[f"method/{{rows}}/action"] = out.action
        outputs.update(flat(out.state, f"method/{{rows}}/state"))
        out = model.signatures["action"](**x)
        outputs.update({{f"signature/{{rows}}/{{key}}": y for key, y in out.items()}})
    outputs["seeds/first"] = model.get_initial_state(2)["seed"]
    outputs["seeds/second"] = model.signatures["get_initial_state"](tf.constant(2))["seed"]
    outputs["train_step"] = model.get_train_step()
    np.savez(directory + ".out.npz", **{{key: np.asarray(y) for key, y in outputs.items()}})
"""


def some_inputs(policy):
    """Inputs by their names in the signature, three rows; the second one is FIRST."""
    random = np.random.RandomState(0)
    arrays = {
        "0/step_type": np.array([1, 0, 1], np.int32),
        "0/reward": np.zeros(3, np.float32),
        "0/discount": np.ones(3, np.float32),
        IMAGE: random.randint(0, 256, [3, 64, 64, 3]).astype(np.uint8),
    }
    for key, spec in flat(policy.policy_state_spec, "1").items():
        if spec.dtype == tf.int32:
            arrays[key] = random.randint(-1000, 1000, [3, *spec.shape]).astype(np.int32)
        else:
            arrays[key] = random.uniform(-1, 1, [3, *spec.shape]).astype(np.float32)
    return arrays


def time_step_and_state(x):
    return ts.TimeStep(**nested(x, "0")), nested(x, "1")


class Exported:
    """A policy, its SavedModel, and what that did in a process of its own."""

    def __init__(self, policy, directory, rows, **arguments):
        self.policy, self.directory = policy, os.fspath(directory)
        self.inputs = some_inputs(policy)
        np.savez(self.directory + ".in.npz", rows=rows, **self.inputs)
        assert export_policy(policy, directory, **arguments) == self.directory

    @property
    def outputs(self):
        with np.load(self.directory + ".out.npz") as file:
            return dict(file)


@pytest.fixture(scope="module")
def exports(agent, tmp_path_factory):
    """The agent's policy; and one that explores, is compiled and has a planner with memory."""
    folder = tmp_path_factory.mktemp("export")
    specs = agent.time_step_spec, agent.action_spec, agent.world_model
    other = PlanetPolicy(
        *specs, Smooth(4, 20, 4, 2), exploration=GaussianNoise(0.1), jit_compile=True
    )
    tf.random.set_seed(0)  # must not be baked into the export
    step = tf.Variable(42, dtype=tf.int64)
    return {
        "plain": Exported(agent.policy, folder / "plain", [1, 3], train_step=step),
        "memory": Exported(other, folder / "memory", [3], jit_compile=True),
    }


@pytest.fixture(scope="module")
def acted(exports, tmp_path_factory):
    """The same, after one process has loaded both and acted."""
    script = tmp_path_factory.mktemp("actor") / "actor.py"
    script.write_text(ACTOR)
    directories = [export.directory for export in exports.values()]
    environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run(
        [sys.executable, script, *directories],
        env=environment,  # with TensorFlow 2.16 and later: Keras 3
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return exports


@pytest.fixture(scope="module")
def loaded(exports):
    return tf.saved_model.load(exports["plain"].directory)


@pytest.mark.parametrize(("name", "rows"), [("plain", 1), ("plain", 3), ("memory", 3)])
def test_it_acts_as_the_policy_where_there_is_only_tensorflow(acted, name, rows):
    policy, outputs = acted[name].policy, acted[name].outputs
    x = {key: tf.constant(value[:rows]) for key, value in acted[name].inputs.items()}
    step = policy.action(*time_step_and_state(x))
    expected = {"action": step.action, **flat(step.state, "state")}
    assert len(expected) == {"plain": 5, "memory": 7}[name]
    for way in ("method", "signature"):
        prefix = f"{way}/{rows}/"
        got = {key[len(prefix) :]: y for key, y in outputs.items() if key.startswith(prefix)}
        assert got.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_allclose(got[key], value, atol=1e-4, err_msg=key)
    if name == "memory":  # the second row starts an episode
        before = acted[name].inputs["1/planner/decisions"]
        after = outputs["method/3/state/planner/decisions"]
        np.testing.assert_array_equal(after, [before[0] + 1, 1, before[2] + 1])


def test_initial_states_differ_from_process_to_process(acted, loaded):
    tf.random.set_seed(0)
    drawn = [*loaded.get_initial_state(2)["seed"].numpy()]
    for export in acted.values():
        drawn += [*export.outputs["seeds/first"], *export.outputs["seeds/second"]]
    assert len({tuple(words) for words in drawn}) == len(drawn) == 10


def test_the_train_step_is_exported(acted):
    assert acted["plain"].outputs["train_step"] == 42


def test_tf_agents_loads_it_as_a_policy_that_drives(exports):
    loaded = py_tf_eager_policy.SavedModelPyTFEagerPolicy(
        exports["plain"].directory, load_specs_from_pbtxt=True
    )
    env = environments.load("dot_goal", seed=0)
    (run,) = rollout.run_episodes(env, loaded, sequences(1))
    assert run["action"].shape == (51, 2) and len(np.unique(run["action"], axis=0)) == 51


HARM = {
    "float images": lambda x: {**x, IMAGE: tf.cast(x[IMAGE], tf.float32)},
    "small images": lambda x: {**x, IMAGE: x[IMAGE][:, ::2, ::2]},
    "grey images": lambda x: {**x, IMAGE: x[IMAGE][..., :1]},
    "no rows": lambda x: {**x, IMAGE: x[IMAGE][0]},
    "float64 state": lambda x: {**x, "1/deter": tf.cast(x["1/deter"], tf.float64)},
    "a larger state": lambda x: {**x, "1/stoch": tf.concat([x["1/stoch"]] * 2, 1)},
    "float seeds": lambda x: {**x, "1/seed": tf.cast(x["1/seed"], tf.float32)},
    "no action": lambda x: {key: value for key, value in x.items() if key != "1/action"},
    **{
        f"one row of {key}": lambda x, key=key: {**x, key: x[key][:1]}
        for key in (IMAGE, "0/step_type", "1/stoch", "1/seed")
    },
    "NaN in deter": lambda x: {**x, "1/deter": x["1/deter"] * np.nan},
    "NaN in one row of stoch": lambda x: {**x, "1/stoch": x["1/stoch"] * [[1], [np.nan], [1]]},
    "NaN or infinity in action": lambda x: {**x, "1/action": x["1/action"] / 0},
}


@pytest.mark.parametrize("way", ["method", "signature"])
@pytest.mark.parametrize("harm", ["none", *HARM])
def test_bad_input_is_an_error_and_never_an_action(exports, loaded, harm, way):
    x = {key: tf.constant(value) for key, value in exports["plain"].inputs.items()}
    x = HARM.get(harm, dict)(x)

    def act():
        return (
            loaded.action(*time_step_and_state(x))
            if way == "method"
            else loaded.signatures["action"](**x)
        )

    if harm == "none":
        act()
        return
    with pytest.raises((ValueError, TypeError, tf.errors.InvalidArgumentError)) as error:
        act()
    if harm.startswith("NaN"):
        assert harm.split()[-1] in str(error.value)


def test_a_model_without_a_finite_score_is_an_error(agent, exports, loaded):
    bias = loaded.model_variables[-1]
    # The reward head's last bias decides every score.
    assert bias.shape == [1]
    before = bias.numpy()
    bias.assign([np.nan])
    x = {key: tf.constant(value) for key, value in exports["plain"].inputs.items()}
    try:
        with pytest.raises(tf.errors.InvalidArgumentError):
            loaded.action(*time_step_and_state(x))
    finally:
        bias.assign(before)


@pytest.fixture
def fake_saver(monkeypatch):
    """Saves one small file instead of a SavedModel."""

    policies = []

    class Saver:
        def __init__(self, policy, batch_size, train_step):
            policies.append(policy)

        def save(self, directory):
            pathlib.Path(directory).mkdir()
            (pathlib.Path(directory) / "saved").write_text("a policy")

    Saver.policies = policies
    monkeypatch.setattr(policy_saver, "PolicySaver", Saver)
    return Saver


def test_an_export_replaces_the_one_before(agent, fake_saver, tmp_path):
    target = tmp_path / "policy"
    for leftover in (target, tmp_path / "policy.new", tmp_path / "policy.old"):
        leftover.mkdir()
        (leftover / "old").write_text("")
    export_policy(agent.policy, target, trained_on={"task": "dot_goal"})
    assert names(tmp_path) == ["policy"] and names(target) == ["run.json", "saved"]
    assert (target / "run.json").read_text() == '{"task": "dot_goal"}\n'
    export_policy(agent.policy, target)
    assert names(target) == ["saved"]


def test_a_failed_export_leaves_the_one_before(agent, fake_saver, monkeypatch, tmp_path):
    target = tmp_path / "policy"
    export_policy(agent.policy, target)

    def full(self, directory):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fake_saver, "save", full)
    with pytest.raises(errors.StorageError) as error:
        export_policy(agent.policy, target)
    assert str(target) in str(error.value)
    assert (target / "saved").exists()


def test_exploration_is_exported_as_it_is_now(agent, fake_saver, tmp_path):
    updates = tf.Variable(50)
    policy = PlanetPolicy(
        agent.time_step_spec,
        agent.action_spec,
        agent.world_model,
        exploration=GaussianNoise(0.3, 0.1, 100),
        updates=updates,
    )
    export_policy(policy, tmp_path / "policy")
    (saved,) = fake_saver.policies
    updates.assign(100)
    assert float(saved.exploration.std_at(saved.updates)) == pytest.approx(0.2)


def test_a_wildcard_in_the_directory_is_refused(agent, tmp_path):
    with pytest.raises(errors.ConfigError) as error:
        export_policy(agent.policy, tmp_path / "a*b")
    assert "a*b" in str(error.value)
    assert not list(tmp_path.iterdir())
