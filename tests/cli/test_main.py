"""The `planet-tf` command: sub-commands, help, and errors as messages."""

import argparse
import importlib
import os
import runpy
import subprocess
import sys

import pytest

import planet_tf
from planet_tf import cli, errors
from planet_tf.cli import flags, plot
from planet_tf.cli.main import COMMANDS


def test_usage_lists_all_commands(command):
    status, out, err = command("--help")
    assert status == 0 and not err and all(f"  {name} " in out for name in COMMANDS)
    status, out, err = command()
    assert status == 2 and not out and all(name in err for name in COMMANDS)


def test_version(command):
    assert command("--version") == (0, f"{planet_tf.__version__}\n", "")


def test_unknown_command_is_named_with_the_nearest(command):
    status, out, err = command("trian", "--root_dir=x")
    assert status == 2 and not out and "'trian'" in err and "'train'" in err


@pytest.mark.parametrize("arguments", [["--help"], ["plot", "--help"]])
def test_output_that_nobody_reads_is_no_trace(arguments):
    read, write = os.pipe()
    os.close(read)  # as `head` does once it has its lines
    code = f"import sys; from planet_tf import cli; sys.exit(cli.main({arguments}))"
    # argparse ignores what fails while it writes: with a buffer nothing does until the end.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True, env=env
    )
    os.close(write)
    assert done.returncode == 141 and not done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_every_flag(command, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "1000")
    status, out, _ = command(name, "--help")
    module = importlib.import_module(f"planet_tf.cli.{name}")
    parser = argparse.ArgumentParser()
    module.add_flags(parser)
    named = [
        action.option_strings[-1] if action.option_strings else action.metavar or action.dest
        for action in parser._actions
    ]
    assert status == 0 and len(named) > 1
    assert all(flag in out for flag in named) and module.EXAMPLE in out


@pytest.mark.parametrize("name", COMMANDS)
def test_script_is_the_command(root, monkeypatch, name):
    calls = []
    monkeypatch.setattr(cli, "main", lambda argv: calls.append(argv) or 7)
    monkeypatch.setattr("sys.argv", ["script", "--a", "b"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(root / "scripts" / f"{name}.py"))
    assert calls == [[name, "--a", "b"]] and stopped.value.code == 7


@pytest.mark.parametrize("name", COMMANDS)
def test_unknown_flag_is_named(command, name):
    status, out, err = command(name, "a", "b", "--no_such_flag")
    assert status == 2 and not out and "--no_such_flag" in err


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.ConfigError("wrong", "do this"), 2),
        (errors.StorageError("full", "do this"), 1),
        (errors.Interrupted("stopped", 143), 143),
    ],
)
def test_error_is_a_message_with_a_hint(command, monkeypatch, error, status):
    monkeypatch.setattr(plot, "run", lambda flags: _raise(error))
    found, out, err = command("plot", "x")
    assert (found, out) == (status, "")
    assert err == f"error: {error.message}\nhint: {error.hint}\n"


def test_interrupt_ends_with_130(command, monkeypatch):
    monkeypatch.setattr(plot, "run", lambda flags: _raise(KeyboardInterrupt()))
    status, _, err = command("plot", "x")
    assert status == 130 and "Traceback" not in err


def test_fault_of_the_library_keeps_its_traceback(command, monkeypatch):
    monkeypatch.setattr(plot, "run", lambda flags: _raise(KeyError("bug")))
    with pytest.raises(KeyError, match="bug"):
        command("plot", "x")


def _raise(error):
    raise error


# The flags' types.


@pytest.mark.parametrize(("text", "value"), [("0.1", 0.1), ("100", 100), ("15", 15)])
def test_frame_rates_are_accepted(text, value):
    assert flags.frame_rate(text) == value


@pytest.mark.parametrize("text", ["0.09", "101", "nan", "inf", "-1", "fast", ""])
def test_impossible_frame_rates_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match=f"'{text}'"):
        flags.frame_rate(text)


def test_whole_numbers_are_checked():
    assert [flags.count("1"), flags.natural("0")] == [1, 0]
    for text in ("0", "-1", "1.5", "x", ""):
        with pytest.raises(argparse.ArgumentTypeError, match=f"'{text}'"):
            flags.count(text)


def test_output_file_needs_its_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert flags.output_file("~/x.json") == tmp_path / "x.json"
    with pytest.raises(argparse.ArgumentTypeError, match=r"~/no/x\.json"):
        flags.output_file("~/no/x.json")
