"""What a run says of its making: command, commit, versions and hardware of each process."""

import subprocess
import sys

from planet_tf import run_files, storage
from planet_tf.training import provenance


def git(root, *arguments):
    names = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(root), *names, *arguments], check=True, capture_output=True)


def test_processes_are_added_and_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/some/where/planet-tf", "train", "--gin_file=cup.gin"])
    provenance.record(tmp_path)
    with (tmp_path / run_files.PROCESSES).open("a") as file:
        file.write('{"started": "20')  # killed while it wrote
    provenance.record(tmp_path)
    found = storage.json_lines(tmp_path / run_files.PROCESSES)
    assert len(found) == 2
    assert found[0]["command"] == ["planet-tf", "train", "--gin_file=cup.gin"]
    assert found[0]["cores"] >= 1 and found[0]["cpu"] and found[0]["gpu"] == []
    assert storage.json_lines(tmp_path / "nowhere") == []


def test_a_commit_is_that_of_the_checkout_alone(tmp_path):
    assert provenance.commit(tmp_path) is None
    git(tmp_path, "init")
    assert provenance.commit(tmp_path) is None  # nothing is committed
    (tmp_path / "x").write_text("1")
    git(tmp_path, "add", "x")
    git(tmp_path, "commit", "-m", "x")
    clean = provenance.commit(tmp_path)
    assert clean and len(clean) == 12
    (tmp_path / "x").write_text("2")
    assert provenance.commit(tmp_path) == f"{clean}-dirty"
    inner = tmp_path / "site-packages"  # of a virtual environment in another repository
    inner.mkdir()
    assert provenance.commit(inner) is None
