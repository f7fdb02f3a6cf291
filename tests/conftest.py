"""What the tests share: agents and runs of the smallest size, and gin left as it was found."""

import importlib
import os

# Before TensorFlow is imported. The tests are about the CPU's arithmetic.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
if "PYTEST_XDIST_WORKER" in os.environ:  # more threads than cores would wait for each other
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

importlib.import_module("planet_tf.runtime").silence_libraries()

import fcntl  # noqa: E402
import functools  # noqa: E402
import json  # noqa: E402
import pathlib  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402

import gin  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import tensorflow as tf  # noqa: E402
from tensorboard.backend.event_processing import event_accumulator  # noqa: E402
from tf_agents.environments import batched_py_environment  # noqa: E402

from planet_tf import cli, config, environments, training  # noqa: E402
from planet_tf.agents import building  # noqa: E402
from planet_tf.training import run as runs  # noqa: E402

# Two devices, for the tests of what several share.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

# TF-Agents' table of episodes takes 47 MB however few there are, and TensorFlow never frees them:
# in test processes with many runs that would be gigabytes.
tf.lookup.experimental.DenseHashTable = functools.partial(
    tf.lookup.experimental.DenseHashTable, initial_num_buckets=1024
)

ROOT = pathlib.Path(__file__).parents[1]
TINY = ("dot_goal.gin", "debug.gin")


@pytest.fixture(autouse=True)
def _gin_is_cleared():
    yield
    gin.clear_config()


@pytest.fixture
def root():
    """The repository's root."""
    return ROOT


@pytest.fixture
def tiny():
    """Binds dot_goal.gin and debug.gin: a model and a planner that take milliseconds."""
    config.parse(TINY)


@pytest.fixture(params=["eager", "graph", "xla"])
def variant(request):
    """Runs a pure function eagerly, traced and compiled: (function) -> function."""
    return {
        "eager": lambda function: function,
        "graph": lambda function: tf.function(function, autograph=False),
        "xla": lambda function: tf.function(function, autograph=False, jit_compile=True),
    }[request.param]


def _make_agent(seed=0, jit_compile=False):
    env = environments.load("dot_goal", seed=0)
    shapes = {key: list(spec.shape) for key, spec in env.observation_spec().items()}
    identity = {"seed": seed, "observations": shapes, "action_size": 2}
    return building.make_agent(identity, jit_compile)


@pytest.fixture
def make_agent(tiny):
    """Makes tiny agents for dot_goal with gin's settings: (seed, jit_compile)."""
    return _make_agent


@pytest.fixture(scope="module")
def agent():
    """A tiny agent for dot_goal that nobody trains."""
    config.parse(TINY)
    made = _make_agent()
    gin.clear_config()
    return made


_make = building.make_agent
_made: dict = {}


def _make_once(identity, jit_compile, run_updates=None):
    """Makes an agent, or resets one that was made with the same settings.

    Its learning rate does not fall, so it may serve runs of any number of updates.
    """
    settings = config.settings(gin.config_str()).items()
    settings = {n: v for n, v in settings if config.owner(n) not in ("train", "load_environment")}
    names = ("seed", "observations", "action_size", "discrete", "terminates")
    key = json.dumps([*map(identity.get, names), jit_compile, settings])
    if key not in _made:
        agent = _make(identity, jit_compile)
        variables = [agent.train_step_counter, *agent.world_model.variables]
        variables += agent.optimizer.variables
        _made[key] = agent, [(variable, variable.numpy()) for variable in variables]
    agent, initial = _made[key]
    for variable, value in initial:
        variable.assign(value)
    return agent


@pytest.fixture
def agents_once(monkeypatch):
    """Lets runs with the same settings and seed share one agent: making one takes a second."""
    monkeypatch.setattr(building, "make_agent", _make_once)


class _Rows(batched_py_environment.BatchedPyEnvironment):
    def seed(self, seeds):
        for env, seed in zip(self.envs, seeds, strict=True):
            env.seed(seed)


@pytest.fixture
def in_rows():
    """Makes one batched environment from several, in this process: (environments)."""
    return lambda envs: _Rows(envs, multithreading=False)


@pytest.fixture
def batch():
    """Four random chunks of six steps, as replay gives them."""
    random = np.random.RandomState(0)
    return {
        "image": tf.constant(random.randint(0, 256, [4, 6, 64, 64, 3]).astype(np.uint8)),
        "action": tf.constant(random.uniform(-1, 1, [4, 6, 2]).astype(np.float32)),
        "reward": tf.constant(random.uniform(0, 1, [4, 6]).astype(np.float32)),
        "discount": tf.ones([4, 6]),
        "is_first": tf.constant(np.arange(24).reshape(4, 6) == 0),
    }


@pytest.fixture
def python():
    """Runs this Python in a process of its own: (*arguments, cwd, path for PYTHONPATH)."""

    def run(*arguments, cwd=ROOT, path=""):
        environment = {**os.environ, "PYTHONPATH": str(path), "COLUMNS": "100"}
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )

    return run


@pytest.fixture
def command(capsys):
    """Runs `planet-tf` in this process: (name, *arguments) -> exit status, stdout, stderr."""

    def run(*arguments):
        try:
            status = cli.main(list(map(str, arguments)))
        except SystemExit as stopped:
            status = stopped.code
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def quick(tiny, monkeypatch):
    """Trains on dot_goal in this process, without the export: (root_dir, **settings).

    Settings are gin's, with __ for the dot: train__episodes=3.
    """
    monkeypatch.setattr(runs, "export_policy", lambda *_, **__: None)

    def run(root_dir, **settings):
        for name, setting in settings.items():
            gin.bind_parameter(name.replace("__", "."), setting)
        training.train(root_dir)

    return run


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory):
    """A complete run of the toy at debug size, for all tests: look, do not touch."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # one run for all test processes
    root_dir = folder / "toy" / "run"
    with (folder / "toy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root_dir / "policy").exists():
            config.parse(TINY)
            training.train(root_dir)
            gin.clear_config()
    return root_dir


@pytest.fixture
def tensorboard_tags():
    """Lists the tags of a run's event files: (its directory)."""

    def tags(run):
        accumulator = event_accumulator.EventAccumulator(str(run / "tensorboard"))
        accumulator.Reload()
        return set(accumulator.Tags()["tensors"])

    return tags


@pytest.fixture
def checkpoint():
    """Reads all values of a checkpoint by their keys: (a run's directory, number)."""

    def read(run, number):
        reader = tf.train.load_checkpoint(str(run / "checkpoints" / f"ckpt-{number}"))
        apart = ("_CHECKPOINTABLE_OBJECT_GRAPH", "save_counter/.ATTRIBUTES/VARIABLE_VALUE")
        keys = reader.get_variable_to_shape_map()
        return {key: reader.get_tensor(key) for key in keys if key not in apart}

    return read
