"""The `planet-tf` command: finds the sub-command, and turns errors into messages."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

import planet_tf
from planet_tf import errors, runtime, stack

COMMANDS = {
    "train": "train an agent; the same command resumes the run",
    "sweep": "train tasks x settings x seeds, on one machine or a Ray cluster",
    "evaluate": "score a trained policy without noise, and film it",
    "imagine": "show what a run's model predicts",
    "plot": "draw learning curves, write tables of results",
    "export": "export a run's policy as a SavedModel",
    "planners": "measure return against milliseconds: planners of many kinds and sizes",
    "fit": "compare settings: fit models to a run's episodes, measure their predictions",
    "bench": "time updates, decisions, frames, batches and collectors",
    "doctor": "check this machine, and estimate what a run needs",
}

_BROKEN_PIPE = 141  # 128 + SIGPIPE, as shells report it


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a sub-command; returns its exit status."""
    try:
        try:
            return _run(argv)
        finally:  # argparse exits after --help
            sys.stdout.flush()
    except BrokenPipeError:  # as in `planet-tf plot ... | head`: nobody reads what is left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE


def _run(argv: Sequence[str] | None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] not in COMMANDS:
        return _help(argv)
    runtime.silence_libraries()
    name, *rest = argv
    command = importlib.import_module(f"planet_tf.cli.{name}")
    parser = argparse.ArgumentParser(
        prog=f"planet-tf {name}", description=command.__doc__, epilog=command.EXAMPLE
    )
    command.add_flags(parser)
    flags = parser.parse_args(rest)
    try:
        if name != "doctor":  # which reports all packages
            stack.check_packages()
        return command.run(flags) or 0
    except errors.PlanetError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _help(argv: list[str]) -> int:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, text in COMMANDS.items()]
    usage = "usage: planet-tf COMMAND [flags]\n\n" + "\n".join(lines)
    usage += "\n\nplanet-tf COMMAND --help explains a command's flags."
    if argv and argv[0] == "--version":
        print(planet_tf.__version__)
        return 0
    if argv and argv[0] in ("-h", "--help"):
        print(usage)
        return 0
    if argv:
        from planet_tf import checks

        hint = checks.did_you_mean(argv[0], COMMANDS)
        print(f"error: no command {argv[0]!r}{': ' * bool(hint)}{hint}\n", file=sys.stderr)
    print(usage, file=sys.stderr)
    return 2
