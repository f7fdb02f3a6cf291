"""The benchmark: operations counted by hand, and a run of all its parts."""

import json

import pytest
import tensorflow as tf

from planet_tf import benchmark, config, environments, world_model as wm


def test_operations_of_single_layers():
    dense = tf.keras.layers.Dense(5)
    dense.build([None, 3])
    assert benchmark.layer_flops(dense) == (30, 1)
    conv = tf.keras.layers.Conv2D(8, 4, 2)
    conv.build([None, 10, 10, 3])
    assert benchmark.layer_flops(conv, 10) == (2 * 4 * 4 * 3 * 8 * 4 * 4, 4)
    deconv = tf.keras.layers.Conv2DTranspose(8, 5, 2)
    deconv.build([None, 3, 3, 6])
    assert benchmark.layer_flops(deconv, 3) == (2 * 5 * 5 * 6 * 8 * 3 * 3, 9)
    with pytest.raises(TypeError, match="cannot count"):
        benchmark.layer_flops(tf.keras.layers.Flatten())


def test_operations_at_paper_size():
    model = wm.WorldModel(action_size=6)
    multiply_adds = {
        "encoder": 31**2 * 48 * 32 + 14**2 * 512 * 64 + 6**2 * 1024 * 128 + 2**2 * 2048 * 256,
        "transition": 36 * 200 + 400 * 600,
        "prior": 200 * 200 + 200 * 60,
        "posterior": 1224 * 200 + 200 * 60,
        "decoder": 230 * 1024
        + 25 * 1024 * 128
        + 5**2 * 25 * 128 * 64
        + 13**2 * 36 * 64 * 32
        + 30**2 * 36 * 32 * 3,
        "reward": 230 * 300 + 2 * 300 * 300 + 300,
    }
    expected = {name: 2 * count for name, count in multiply_adds.items()}
    assert benchmark.model_flops(model) == expected
    first = 2 * 31**2 * 48 * 32
    forward = sum(expected.values())
    assert benchmark.update_flops(model, 2500) == 2500 * (3 * forward - first)
    decision = benchmark.decision_flops(model, 10, 1000, 12)
    step = expected["transition"] + expected["prior"] + expected["reward"]
    filtering = expected["encoder"] + expected["transition"] + expected["posterior"]
    assert decision == 120_000 * step + filtering


def test_all_parts_are_measured(python, root, tmp_path):
    files = [f"--gin_file={root / 'gin' / name}" for name in ("dot_goal.gin", "debug.gin")]
    out = tmp_path / "figures.json"
    flags = ["--repeats=2", "--cycle=2", f"--json={out}", f"--profile={tmp_path / 'trace'}"]
    done = python(root / "scripts" / "benchmark.py", *files, *flags)
    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text())
    assert figures["matmul_gflops"] > 0
    parts = {part["name"].removeprefix("given: "): part for part in figures["parts"]}
    for name, part in parts.items():
        assert name in done.stdout and part["seconds"] > 0
    for name in ("update", "decision"):
        assert 0 < parts[name]["of_matmul"] < 1
        rate = parts[name]["gflop"] / parts[name]["seconds"] / figures["matmul_gflops"]
        assert rate == pytest.approx(parts[name]["of_matmul"])
    whole = parts.pop("cycle of 2 updates and an episode")["seconds"]
    shares = [part["seconds"] for name, part in parts.items() if name.startswith("cycle")]
    assert len(shares) == 5 and sum(shares) == pytest.approx(whole)
    assert "frame" in parts and not any("as the suite comes" in name for name in parts)
    assert list((tmp_path / "trace").rglob("*.xplane.pb"))


def test_a_file_that_cannot_be_written_is_said_at_once(python, root, tmp_path):
    done = python(root / "scripts" / "benchmark.py", f"--json={tmp_path}/none/figures.json")
    assert done.returncode == 2
    assert "no such directory" in done.stderr and "Traceback" not in done.stderr


def test_what_cannot_be_measured_is_said():
    with pytest.raises(config.ConfigError, match="nothing.gin"):
        benchmark.run({"none": ["nothing.gin"]})


def test_a_task_of_ones_own_is_not_compared_with_the_suite():
    env = environments.load("cartpole_balance", seed=0)
    env.reset()
    env.name = "own_tasks:make"
    assert [part.name for part in benchmark._frames(env, 1)] == ["frame"]
    env.close()
