"""scripts/gpu_benchmark.sh: what it calls, and that it continues; with a planet-tf that records."""

import os
import subprocess

import pytest

RECORDER = """#!/bin/sh
echo "$@" >> "$CALLS"
for flag; do case $flag in --json=*) echo {} > "${flag#--json=}" ;; esac; done
"""


@pytest.fixture
def script(root, tmp_path):
    """Runs the script: (arguments, PATH with a planet-tf) -> its process and all calls so far."""
    command = tmp_path / "bin" / "planet-tf"
    command.parent.mkdir()
    command.write_text(RECORDER)
    command.chmod(0o755)

    def run(*arguments, path=f"{command.parent}:/usr/bin:/bin"):
        done = subprocess.run(
            ["/bin/sh", str(root / "scripts" / "gpu_benchmark.sh"), *arguments],
            env={**os.environ, "PATH": path, "CALLS": str(tmp_path / "calls")},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        calls = tmp_path / "calls"
        return done, calls.read_text().splitlines() if calls.exists() else []

    return run


def test_all_is_measured_once_then_trained(script):
    done, calls = script("1", "out")
    assert done.returncode == 0, done.stderr
    assert len(calls) == 6
    assert [call.split()[0] for call in calls] == ["bench"] * 4 + ["train", "plot"]
    variants = {(call.split("--jit=")[1][:3].strip(), call.split("'")[1]) for call in calls[:4]}
    assert len(variants) == 4
    assert "train.device = 'gpu'" in calls[4] and "--root_dir=out/cheetah" in calls[4]
    done, calls = script("1", "out")
    assert done.returncode == 0 and [call.split()[0] for call in calls[6:]] == ["train", "plot"]


def test_wrong_input_is_named(script):
    done, calls = script("soon")
    assert done.returncode == 2 and "MINUTES" in done.stderr and not calls
    done, calls = script(path="/usr/bin:/bin")
    assert done.returncode == 2 and "activate" in done.stderr and not calls
