"""Two trainers on one run's directory: the second is refused, and a kill releases the lock."""

import os
import signal
import subprocess
import sys

import pytest

from planet_tf import config, run_lock

HOLD = """
import sys
from planet_tf import run_lock
lock = run_lock.RunLock(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


def test_the_second_is_told_who_holds_it_until_a_kill(tmp_path):
    arguments = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    holder = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(config.ConfigError, match=f"in use by process {holder.pid} on .* since"):
        run_lock.RunLock(tmp_path / "run")
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    lock = run_lock.RunLock(tmp_path / "run")
    with pytest.raises(config.ConfigError, match=f"process {os.getpid()} "):
        run_lock.RunLock(tmp_path / "run")
    lock.release()
    assert not list((tmp_path / "run").iterdir())
    run_lock.RunLock(tmp_path / "new").release()
    assert not (tmp_path / "new").exists()  # nothing came of it
