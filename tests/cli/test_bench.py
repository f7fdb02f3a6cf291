"""`planet-tf bench`: what is measured, printed and written."""

import json

import pytest

from planet_tf import runtime
from planet_tf.machine import benchmark


@pytest.fixture
def measured(monkeypatch):
    """What `benchmark.run` is called with, instead of measuring."""
    calls = []
    parts = [benchmark.Part("update", 0.5, 2.0, 0.25), benchmark.Part("frame", 0.001)]
    monkeypatch.setattr(benchmark, "run", lambda *given: calls.append(given) or (16e9, parts))
    return calls


def test_figures_are_printed_and_written(command, measured, tmp_path):
    flags = ["--jit=off", "--repeats=2", "--cycle=3", f"--json={tmp_path / 'x.json'}"]
    files = ["--gin_file=dot_goal.gin", "--gin_bindings=train.seed=1"]
    status, out, err = command("bench", *files, *flags, "--profile=trace")
    assert status == 0, err
    assert measured == [({"given": ["dot_goal.gin"]}, ["train.seed=1"], False, 2, 3, "trace")]
    assert "16 GFLOP/s" in out and "update" in out and "25%" in out and "frame" in out
    found = json.loads((tmp_path / "x.json").read_text())
    assert found["matmul_gflops"] == 16
    assert found["parts"][0] == {"name": "update", "seconds": 0.5, "gflop": 2, "of_matmul": 0.25}


def test_paper_and_cpu_sizes_are_measured_by_default(command, measured):
    assert command("bench")[0] == 0
    sizes = {"paper": ["cheetah.gin"], "cpu": ["cheetah.gin", "cpu.gin"]}
    assert measured == [(sizes, [], None, 5, 0, None)]


@pytest.mark.parametrize(
    ("flags", "device"),
    [([], "auto"), (["--gin_bindings=train.device='cpu'"], "cpu"), (["--device=cpu"], "cpu")],
)
def test_the_device_is_the_flags_or_the_settings(command, measured, monkeypatch, flags, device):
    chosen = []
    monkeypatch.setattr(runtime, "choose_device", chosen.append)
    assert command("bench", *flags)[0] == 0
    assert chosen == [device]


@pytest.mark.parametrize(
    ("flag", "parts"),
    [
        ("--json=no/where.json", ["--json", "no/where.json"]),
        ("--repeats=0", ["--repeats", "'0'"]),
        ("--jit=maybe", ["--jit", "'maybe'"]),
        ("--device=gpu", ["gpu"]),
        ("--device=tpu", ["--device", "'tpu'"]),
    ],
)
def test_wrong_input_is_named(command, measured, flag, parts):
    status, out, err = command("bench", flag)
    assert status == 2 and not out and not measured and all(part in err for part in parts), err


def test_missing_gin_file_is_named(command, monkeypatch):
    monkeypatch.setattr(benchmark, "matmul_rate", lambda: 1e9)
    status, out, err = command("bench", "--gin_file=nothing.gin")
    assert status == 2 and not out and "nothing.gin" in err
