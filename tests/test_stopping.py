"""Ctrl-C and SIGTERM: a checkpoint, an orderly end, and a run that goes on."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest


@pytest.fixture
def start(root):
    """Starts scripts/train.py on the toy at debug size, for longer than anybody waits."""
    processes = []

    def run(root_dir, episodes):
        files = [f"--gin_file={root / 'gin' / name}" for name in ("dot_goal.gin", "debug.gin")]
        settings = [f"--gin_bindings=train.episodes={episodes}", f"--root_dir={root_dir}"]
        command = [sys.executable, str(root / "scripts" / "train.py"), *files, *settings]
        environment = {**os.environ, "PYTHONPATH": ""}
        process = subprocess.Popen(
            command,
            cwd=root,
            env=environment,
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


def wait_for_updates(process, root_dir):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        lines = root_dir / "scalars.jsonl"
        if lines.exists() and '"train/loss"' in lines.read_text(encoding="utf-8"):
            return
        time.sleep(0.1)
    raise AssertionError(process.stderr.read())


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_stopped_run_is_saved_and_goes_on(start, train, tmp_path, number, status):
    run = tmp_path / "run"
    process = start(run, 10_000)
    wait_for_updates(process, run)
    process.send_signal(number)
    begun = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert process.returncode == status, said
    assert time.monotonic() - begun < 30
    assert "Traceback" not in said and "the same command resumes the run" in said
    lines = (run / "scalars.jsonl").read_text(encoding="utf-8").splitlines()
    updates = int(said.split("stopped at update ")[1].split(":")[0])
    episodes = len(list((run / "episodes" / "train").glob("*.npz")))
    assert updates >= max(json.loads(line)["updates"] for line in lines) > 0
    done = train(run, ["dot_goal.gin", "debug.gin"], [f"train.episodes={episodes + 1}"])
    assert done.returncode == 0, done.stderr
    assert f"update {updates} (checkpoint {episodes})" in done.stderr
