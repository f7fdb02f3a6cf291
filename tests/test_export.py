"""The SavedModel: in a process that has TensorFlow and NumPy only, it acts as the policy does."""

import os

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.policies import py_tf_eager_policy
from tf_agents.trajectories import time_step as ts

from planet_tf import environments, evaluation, export, policy as policies

# Loads sys.argv[1], acts on the inputs in sys.argv[2], writes what came out to sys.argv[3].
ACTOR = """
import collections, sys

for name in ("planet_tf", "tf_agents", "tensorflow_probability", "gin", "dm_control"):
    sys.modules[name] = None  # cannot be imported

import numpy as np
import tensorflow as tf

model = tf.saved_model.load(sys.argv[1])
inputs, outputs = np.load(sys.argv[2]), {}
TimeStep = collections.namedtuple("TimeStep", "step_type reward discount observation")
names = {"step_type": "0/step_type", "reward": "0/reward", "discount": "0/discount"}
for rows in (1, 3):
    x = {key: tf.constant(value[:rows]) for key, value in inputs.items()}
    state = {key: x[key] for key in ("deter", "stoch", "action", "seed")}
    step = TimeStep(x["step_type"], x["reward"], x["discount"], {"image": x["image"]})
    out = model.action(step, state)
    outputs[f"method/{rows}/action"] = out.action
    outputs.update({f"method/{rows}/state/{key}": y for key, y in out.state.items()})
    out = model.signatures["action"](
        **{name: x[key] for key, name in names.items()},
        **{"0/observation/image": x["image"]},
        **{f"1/{key}": value for key, value in state.items()},
    )
    outputs.update({f"signature/{rows}/{key}": y for key, y in out.items()})
outputs["first/seeds"] = model.get_initial_state(2)["seed"]
outputs["second/seeds"] = model.signatures["get_initial_state"](tf.constant(2))["seed"]
outputs["train_step"] = model.get_train_step()
np.savez(sys.argv[3], **{key: np.asarray(value) for key, value in outputs.items()})
"""


@pytest.fixture
def inputs(tmp_path):
    random = np.random.RandomState(0)
    arrays = {
        "image": random.randint(0, 256, [3, 64, 64, 3]).astype(np.uint8),
        "step_type": np.array([1, 0, 1], np.int32),
        "reward": np.zeros(3, np.float32),
        "discount": np.ones(3, np.float32),
        "deter": random.uniform(-1, 1, [3, 16]).astype(np.float32),
        "stoch": random.uniform(-1, 1, [3, 4]).astype(np.float32),
        "action": random.uniform(-1, 1, [3, 2]).astype(np.float32),
        "seed": random.randint(-(2**31), 2**31, [3, 2]).astype(np.int32),
    }
    np.savez(tmp_path / "inputs.npz", **arrays)
    return arrays


def acted(python, tmp_path, directory):
    """Returns what the SavedModel does in a process of its own."""
    (tmp_path / "actor.py").write_text(ACTOR)
    done = python(tmp_path / "actor.py", directory, tmp_path / "inputs.npz", tmp_path / "out.npz")
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(tmp_path / "out.npz") as file:
        return dict(file)


def check_acts_as(policy, inputs, outputs, atol):
    for rows in (1, 3):
        x = {key: tf.constant(value[:rows]) for key, value in inputs.items()}
        step = ts.TimeStep(x["step_type"], x["reward"], x["discount"], {"image": x["image"]})
        expected = policy.action(step, {k: x[k] for k in ("deter", "stoch", "action", "seed")})
        for way in ("method", "signature"):
            got = {k: v for k, v in outputs.items() if k.startswith(f"{way}/{rows}/")}
            assert len(got) == 5
            np.testing.assert_allclose(got[f"{way}/{rows}/action"], expected.action, atol=atol)
            for key, value in expected.state.items():
                np.testing.assert_allclose(got[f"{way}/{rows}/state/{key}"], value, atol=atol)


@pytest.mark.usefixtures("tiny")
def test_it_acts_as_the_policy_where_there_is_only_tensorflow(agent, python, tmp_path, inputs):
    directory = tmp_path / "policy"
    tf.random.set_seed(0)  # must not be baked into the export
    step = tf.Variable(42, dtype=tf.int64)
    assert export.export_policy(agent.policy, directory, step) == os.fspath(directory)
    outputs = acted(python, tmp_path, directory)
    assert outputs["train_step"] == 42
    check_acts_as(agent.policy, inputs, outputs, 1e-5)
    again = acted(python, tmp_path, directory)
    seeds = [*outputs["first/seeds"], *outputs["second/seeds"], *again["first/seeds"]]
    assert len({tuple(seed) for seed in [*seeds, *again["second/seeds"]]}) == 8
    check_acts_as(agent.policy, inputs, again, 1e-5)

    # TF-Agents loads it as a policy that drives environments.
    loaded = py_tf_eager_policy.SavedModelPyTFEagerPolicy(
        os.fspath(directory), load_specs_from_pbtxt=True
    )
    env = environments.load("dot_goal", seed=0)
    (run,) = evaluation.run_episodes(env, loaded, [np.random.SeedSequence(0)])
    assert run["action"].shape == (51, 2) and len(np.unique(run["action"], axis=0)) == 51

    # Another export, of the compiled policy that explores, takes its place.
    (directory / "mine.txt").write_text("of the first export")
    (tmp_path / "policy.new").mkdir()
    (tmp_path / "policy.new" / "torn").write_text("")
    export.export_policy(agent.collect_policy, directory, step, jit_compile=True)
    assert sorted(path.name for path in tmp_path.glob("policy*")) == ["policy"]
    assert not (directory / "mine.txt").exists() and not (directory / "torn").exists()
    compiled = policies.PlanetPolicy(
        agent.time_step_spec,
        agent.action_spec,
        agent.world_model,
        exploration_noise=0.3,
        jit_compile=True,
    )
    check_acts_as(compiled, inputs, acted(python, tmp_path, directory), 1e-4)


HARM = {
    "float images": lambda x: {**x, "image": tf.cast(x["image"], tf.float32)},
    "small images": lambda x: {**x, "image": x["image"][:, ::2, ::2]},
    "grey images": lambda x: {**x, "image": x["image"][..., :1]},
    "no rows": lambda x: {**x, "image": x["image"][0]},
    "float64 state": lambda x: {**x, "deter": tf.cast(x["deter"], tf.float64)},
    "a larger state": lambda x: {**x, "stoch": tf.concat([x["stoch"]] * 2, 1)},
    "float seeds": lambda x: {**x, "seed": tf.cast(x["seed"], tf.float32)},
    "no action": lambda x: {key: value for key, value in x.items() if key != "action"},
    **{
        f"one row of {key}": lambda x, key=key: {**x, key: x[key][:1]}
        for key in ("image", "step_type", "deter", "stoch", "action", "seed")
    },
    "a state that is NaN": lambda x: {**x, "deter": x["deter"] * np.nan},
    "an action that is infinite": lambda x: {**x, "action": x["action"] / 0},
}


@pytest.fixture(scope="module")
def exported(agent, tmp_path_factory):
    """A SavedModel, loaded."""
    directory = tmp_path_factory.mktemp("export") / "policy"
    return tf.saved_model.load(export.export_policy(agent.policy, directory))


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("way", ["method", "signature"])
@pytest.mark.parametrize("harm", ["none", *HARM])
def test_bad_input_is_an_error_and_never_an_action(exported, inputs, harm, way):
    x = {key: tf.constant(value) for key, value in inputs.items()}
    x = HARM.get(harm, dict)(x)
    state = {key: x[key] for key in ("deter", "stoch", "action", "seed") if key in x}
    time_step = {key: x[key] for key in ("step_type", "reward", "discount")}

    def act():
        if way == "method":
            step = ts.TimeStep(**time_step, observation={"image": x["image"]})
            return exported.action(step, state)
        return exported.signatures["action"](
            **{f"0/{key}": value for key, value in time_step.items()},
            **{"0/observation/image": x["image"]},
            **{f"1/{key}": value for key, value in state.items()},
        )

    if harm == "none":
        act()
        return
    with pytest.raises((ValueError, TypeError, tf.errors.InvalidArgumentError)) as caught:
        act()
    if harm.startswith("one row"):
        assert "as many rows in all parts" in str(caught.value)
    if "NaN" in harm or "infinite" in harm:
        assert "is NaN or infinite" in str(caught.value)
