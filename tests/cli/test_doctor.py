"""`planet-tf doctor`: what is printed, and the exit status."""

import re

import pytest

from planet_tf.machine import doctor
from planet_tf.machine.findings import Finding

LINE = r"(ok  |note|bad )  (?=.{13}\S)(\S[^:]*): +(\S.*)"  # columns


@pytest.mark.parametrize(("level", "expected"), [("ok", 0), ("note", 0), ("bad", 1)])
def test_bad_finding_is_the_exit_status(command, monkeypatch, level, expected):
    calls = []

    def examine(*arguments):
        calls.append(arguments)
        return [Finding(level, "disk", "x"), Finding("ok", "time", "y")]

    monkeypatch.setattr(doctor, "examine", examine)
    flags = ["--gin_file=cup.gin", "--gin_bindings=train.seed=1", "--root_dir=r", "--quick"]
    status, out, err = command("doctor", *flags, "--device=cpu")
    assert (status, err) == (expected, "")
    assert out.splitlines() == [f"{level:4}  disk:        x", "ok    time:        y"]
    assert calls == [(["cup.gin"], ["train.seed=1"], "r", "cpu", True)]
    command("doctor")
    assert calls[1] == (["cheetah.gin"], [], None, None, False)


def test_wrong_setting_ends_the_report(command, monkeypatch):
    monkeypatch.setattr(doctor, "_rendering", lambda needed: iter(()))
    status, out, err = command("doctor", "--gin_bindings=train.episodess=9")
    assert status == 2 and "'episodes'" in err
    assert all(re.fullmatch(LINE, line) for line in out.splitlines()) and "python" in out


def test_doctor_needs_the_standard_library_alone(python):
    missing = ["absl", "dm_control", "gin", "numpy", "packaging", "tensorflow", "tf_agents"]
    program = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({missing}))\n"  # importing one raises ImportError
        "from planet_tf.cli import main\n"
        "sys.exit(main(['doctor']))\n"
    )
    done = python("-c", program)
    assert done.returncode == 1 and not done.stderr, done.stderr
    found = [re.fullmatch(LINE, line) for line in done.stdout.splitlines()]
    assert all(found), done.stdout
    bad = " ".join(line[3] for line in found if line[1] == "bad ")
    assert "packaging" in bad and "tensorflow" in bad
    assert {"rendering", "run"} <= {line[2] for line in found}
