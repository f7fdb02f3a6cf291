"""Small functions that several tests use."""

import json
import multiprocessing
import os
import threading
import types
from multiprocessing import connection

import numpy as np
import tensorflow as tf

from planet_tf import planning
from planet_tf.machine import estimates

# Specs of a small episode.
SPEC = {
    "image": tf.TensorSpec([2, 2, 3], tf.uint8),
    "action": tf.TensorSpec([2], tf.float32),
    "reward": tf.TensorSpec([], tf.float32),
    "discount": tf.TensorSpec([], tf.float32),
    "is_first": tf.TensorSpec([], tf.bool),
}

# What the doctor measures of a run, in round numbers.
NEEDS = estimates.Needs(
    agent_steps=20,
    frame_bytes=1000,
    episode_bytes=500.5,
    picture_bytes=100,
    parameters=1_000_000,
    process_bytes=50_000,
    held_bytes=0,
)


def normal(seed, *shape):
    """Returns standard normals that depend on the seed alone."""
    return tf.random.stateless_normal(shape, [seed, 0])


def weights(layer):
    """Returns a layer's variables by 'layer/weight'."""
    return {"/".join(v.name.split(":")[0].split("/")[-2:]): v for v in layer.variables}


def sequences(count, *entropy):
    """Returns seed sequences, as `run_episodes` takes them."""
    return np.random.SeedSequence(entropy or 3).spawn(count)


def scalars(run):
    """Returns the objects of a run's scalars.jsonl."""
    return [json.loads(line) for line in (run / "scalars.jsonl").read_text().splitlines()]


def names(directory):
    """Returns the names in a directory, sorted."""
    return sorted(path.name for path in directory.iterdir())


def contents(root):
    """Returns the bytes of every file under a directory, by path."""
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def assert_same(one, two, atol=0.0):
    """Asserts that two dicts of arrays, such as episodes, are equal."""
    assert one.keys() == two.keys()
    for key, value in one.items():
        np.testing.assert_allclose(two[key], value, atol=atol, rtol=0, err_msg=key)


def write_run(root, lines, tail="", **identity):
    """Writes what a run's learning curve is read from: run.json and the lines of scalars.jsonl."""
    root.mkdir(parents=True)
    (root / "run.json").write_text(json.dumps({"task": "dot_goal", "seed": 0, **identity}))
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (root / "scalars.jsonl").write_text(text + tail)
    return root


def scored_run(root, seed, task="cartpole_swingup", scale=1.0):
    """Writes a run of 6 episodes, one per minute; evaluated after 2, 4 and 6 of them."""
    lines = []
    for episodes in range(1, 7):
        counters = {"updates": 0, "episodes": episodes, "env_steps": 1000 * episodes}
        line = {"time": 60.0 * episodes, **counters}
        score = scale * (100.0 * episodes + seed)
        lines.append({**line, "collect/return": score})
        if episodes % 2 == 0:
            lines.append({**line, "evaluation/return": score, "evaluation/return_std": 10.0})
    return write_run(root, lines, task=task, seed=seed)


class _WorkerThread(threading.Thread):
    """A thread in place of a process."""

    exitcode = 0

    def __init__(self, target, args, daemon):
        pipe, *rest = args
        self._pipe = connection.Connection(os.dup(pipe.fileno()))
        super().__init__(target=target, args=(self._pipe, *rest), daemon=daemon)

    def run(self):
        super().run()
        self._pipe.close()

    def kill(self):
        pass


def workers_as_threads(monkeypatch):
    """Makes parallel environments work in threads: a process takes seconds to start."""
    threads = types.SimpleNamespace(Pipe=multiprocessing.Pipe, Process=_WorkerThread)
    monkeypatch.setattr("planet_tf.environments.parallel._SPAWN", threads)


class Smooth(planning.CEM):
    """A planner with memory: averages each plan with the last one, and counts its decisions."""

    def state_spec(self, action_size):
        return {
            "last": tf.TensorSpec([self.horizon, action_size], tf.float32, "last"),
            "decisions": tf.TensorSpec([], tf.int32, "decisions"),
        }

    def plan(self, score, seeds, action_size, state):
        plan = super().plan(score, seeds, action_size, state)
        actions = (plan.actions + state["last"]) / 2
        memory = {"last": actions, "decisions": state["decisions"] + 1}
        return plan._replace(actions=actions, state=memory)


def assert_identical(one, two):
    """Asserts that two dicts of arrays of any type, such as checkpoints, are equal bit by bit."""
    assert one.keys() == two.keys()
    for key, value in one.items():
        np.testing.assert_array_equal(two[key], value, err_msg=key)
