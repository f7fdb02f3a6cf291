"""The train command in a process of its own: signals end it after a checkpoint."""

import signal
import subprocess
import sys
import time

import helpers
import pytest
import tensorflow as tf


@pytest.fixture
def start(root):
    """Starts training of the toy at debug size: (root_dir, *bindings)."""
    processes = []

    def run(root_dir, *bindings):
        process = subprocess.Popen(
            [
                *[sys.executable, "-m", "planet_tf", "train"],
                *["--gin_file=dot_goal.gin", "--gin_file=debug.gin", f"--root_dir={root_dir}"],
                *[f"--gin_bindings={binding}" for binding in bindings],
            ],
            cwd=root,
            stderr=subprocess.PIPE,
            text=True,
            # Where the tests run in the background, Ctrl-C is ignored, and so would the child.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.wait()
        process.stderr.close()


def wait_for(tag, process, root_dir):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        lines = root_dir / "scalars.jsonl"
        if lines.exists() and tag in lines.read_text(encoding="utf-8"):
            return
        time.sleep(0.1)
    raise AssertionError(process.stderr.read())


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.faults)],
)
def test_a_signal_ends_it_after_a_checkpoint(start, tmp_path, number, status):
    run = tmp_path / "run"
    process = start(
        run,
        "train.seed_episodes=9998",
        "train.episodes=9999",
        "load_environment.observations=('state',)",  # a model that is made quickly
        "CEM.horizon=1",
    )
    wait_for("collect/return", process, run)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == status, said
    assert "Traceback" not in said and signal.Signals(number).name in said
    episodes = len(helpers.names(run / "episodes" / "train"))
    assert f"ckpt-{episodes}.index" in helpers.names(run / "checkpoints")
    assert episodes == helpers.scalars(run)[-1]["episodes"] and not (run / "lock").exists()


@pytest.mark.faults
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_between_updates_keeps_them(start, tmp_path, number, status):
    run = tmp_path / "run"
    process = start(run, "train.episodes=9999", "train.updates_per_episode=999")
    wait_for("train/loss", process, run)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == status, said
    path = tf.train.latest_checkpoint(str(run / "checkpoints"))
    key = "agent/_train_step_counter/.ATTRIBUTES/VARIABLE_VALUE"
    updates = int(tf.train.load_variable(path, key))
    assert f"update {updates}:" in said
    assert updates >= max(line["updates"] for line in helpers.scalars(run)) > 0
