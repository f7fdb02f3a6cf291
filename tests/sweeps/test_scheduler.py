"""A sweep by Ray on this machine: runs end, are repeated and stopped; nothing listens outside."""

import os
import pathlib
import signal
import sys
import threading
import time

import helpers
import pytest

from planet_tf import errors
from planet_tf.cluster import connection
from planet_tf.sweeps import cells, scheduler

HERE = os.fspath(pathlib.Path(__file__).parents[1])
SMALL = [
    "load_environment.observations = ('state',)",
    "train.episodes = 2",
    "train.seed_episodes = 1",
    "train.heldout_episodes = 1",
    "train.updates_per_episode = 1",
]


@pytest.fixture(autouse=True)
def _tasks_are_found(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", HERE)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")


def make(tasks, bindings=(), seeds=(0,)):
    return cells.make(tasks, ["debug.gin"], [*SMALL, *bindings], [], seeds)


def run(found, root, retries=1):
    lines = []
    outcomes = scheduler.run(found, root, scheduler.Resources(), retries, report=lines.append)
    return outcomes, lines


def listening():
    """Returns the local addresses, as hexadecimal digits, that this user's processes listen on."""
    found = []
    for table in ("tcp", "tcp6"):
        lines = pathlib.Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        found += [fields[1] for fields in map(str.split, lines) if fields[3] == "0A"]
    return set(found)


@pytest.mark.faults
def test_a_crashed_run_is_resumed_and_a_wrong_one_is_not(tmp_path):
    before = listening()
    seen = set()
    once = f"load_environment.kwargs = {{'marker': {os.fspath(tmp_path / 'crashed')!r}}}"
    crashes = make(["odd_tasks:crashes_once"], [once])
    wrong = make(["dot_goal"], ["RSSMCell.stoch_size = -1"])  # found when the model is built
    done = threading.Event()

    def watch():
        while not done.wait(0.5):
            seen.update(listening() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        outcomes, lines = run([*crashes, *wrong], tmp_path)
    finally:
        done.set()
        watcher.join()
    assert outcomes == {crashes[0].name: "done", wrong[0].name: "failed with exit status 2"}
    assert (tmp_path / "crashed").exists() and (tmp_path / crashes[0].name / "policy").is_dir()
    assert sum("starting it again" in line for line in lines) == 1
    assert "stoch_size" in (tmp_path / wrong[0].name / scheduler.LOG).read_text()
    # 127.0.0.1, of which the kernel writes the bytes backwards.
    assert seen and all(address.split(":")[0].endswith("0100007F") for address in seen)


@pytest.mark.slow  # starts Ray twice
def test_ray_is_started_again_in_the_same_process():
    for cpus in (1, 2):
        with connection.connected(cpus=cpus) as ray:
            assert ray.cluster_resources()["CPU"] == cpus
            assert ray.util.get_node_ip_address() == "127.0.0.1"


def test_a_missing_ray_and_a_missing_cluster_are_named(monkeypatch):
    with pytest.raises(errors.ConfigError) as error, connection.connected("auto"):
        pass
    assert error.value.setting == "--address" and "ray start --head" in error.value.hint
    monkeypatch.setitem(sys.modules, "ray", None)
    missing = pytest.raises(errors.ConfigError, match=r"Ray is not installed .*\[cluster\]")
    with missing, connection.connected():
        pass


@pytest.mark.faults
def test_a_sweep_survives_a_killed_run(tmp_path):
    found = make(["dot_goal", "odd_tasks:Ends"], ["train.episodes = 6"], seeds=[0, 1])
    victim = tmp_path / found[1].name
    threading.Thread(target=kill, args=(victim, signal.SIGKILL), daemon=True).start()
    outcomes, lines = run(found, tmp_path)
    assert set(outcomes.values()) == {"done"} and len(outcomes) == 4
    assert [line.split(":")[0] for line in lines] == [victim.name]
    assert "resumed" in (victim / scheduler.LOG).read_text()
    for cell in found:
        episodes = helpers.names(tmp_path / cell.name / "episodes" / "train")
        assert len(episodes) == 6


@pytest.mark.faults
def test_ctrl_c_stops_all_runs_after_their_checkpoints(tmp_path):
    found = make(["dot_goal"], ["train.episodes = 1000"], seeds=[0, 1])
    runs = [tmp_path / cell.name for cell in found]

    def interrupt():
        for path in runs:
            wait_for_checkpoint(path)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(errors.Interrupted):
        run(found, tmp_path)
    for path in runs:
        assert "stopped by SIGINT" in (path / scheduler.LOG).read_text()
        assert not (path / "lock").exists()


def wait_for_checkpoint(path):
    while not (path / "checkpoints").is_dir() or not any((path / "checkpoints").iterdir()):
        time.sleep(0.1)


def kill(path, number):
    wait_for_checkpoint(path)
    os.kill(int((path / "lock").read_text().split()[1]), number)
