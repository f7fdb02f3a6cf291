"""What a run was made with: one line of processes.jsonl per process that trained it."""

import datetime
import json
import os
import pathlib
import platform
import re
import subprocess
import sys

import tensorflow as tf

import planet_tf
from planet_tf import run_files, storage

_SOURCE = pathlib.Path(planet_tf.__file__).parents[1]


def record(root: pathlib.Path) -> None:
    """Adds this process to a run's directory.

    Raises:
      StorageError: if it cannot be written.
    """
    storage.append(root / run_files.PROCESSES, json.dumps(this_process()) + "\n")


def this_process() -> dict:
    """Returns the command, the versions, the commit (None: no git checkout) and the hardware."""
    return {
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": [pathlib.Path(sys.argv[0]).name, *sys.argv[1:]],
        "planet_tf": planet_tf.__version__,
        "commit": commit(),
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu(),
        "gpu": [
            tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
            for gpu in tf.config.get_visible_devices("GPU")
        ],
    }


def commit(source: pathlib.Path = _SOURCE) -> str | None:
    """Returns the commit of a git checkout, with '-dirty' if files differ; else None."""
    if not (source / ".git").exists():  # installed from a wheel, maybe inside another repository
        return None
    command = ["git", "-C", os.fspath(source), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _cpu() -> str:
    """Returns the processor's name."""
    text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    found = re.search(r"(?m)^model name\s*:\s*(.+)$", text)
    return found.group(1) if found else platform.processor() or platform.machine()
