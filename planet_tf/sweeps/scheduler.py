"""A sweep: many runs, scheduled by Ray, each repeated from its checkpoint when it fails."""

import os
import pathlib
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from planet_tf import config, errors, runtime, training
from planet_tf.cluster import connection
from planet_tf.sweeps.cells import Cell
from planet_tf.training import interrupts

_WRONG_SETTINGS = 2  # an exit status that no repetition changes
_SAVING_SECONDS = 120.0  # that runs have for a checkpoint when the sweep is stopped
LOG = "sweep.log"
"""The file in a run's directory with what it printed."""


class Resources(NamedTuple):
    """What each run gets.

    Attributes:
      cpus: cores; its TensorFlow uses as many threads.
      gpus: GPUs, or the share of one, such as 0.25.
    """

    cpus: int = 1
    gpus: float = 0.0


def run(
    cells: Sequence[Cell],
    root: pathlib.Path,
    resources: Resources,
    retries: int,
    address: str | None = None,
    show: Callable[[Mapping[str, str]], None] = lambda outcomes: None,
    report: Callable[[str], None] = print,
) -> dict[str, str]:
    """Trains all cells, as many at a time as there are resources.

    A run that fails, or whose machine is lost, is started again and resumes from its checkpoint.
    On Ctrl-C or SIGTERM all runs write a checkpoint.

    Args:
      cells: the runs.
      root: the sweep's directory, which all machines see.
      resources: of each run.
      retries: how often a run is started again.
      address: of a Ray cluster; None: this machine.
      show: called every second with the outcomes so far, see below.
      report: called with one line about each failure.

    Returns:
      outcomes by name: 'done', or why there is none.

    Raises:
      ConfigError: if Ray is not installed or cannot be reached, or this machine has less than one
        run asks for.
      Interrupted: on Ctrl-C and SIGTERM, after the checkpoints.
    """
    root, cells = root.absolute(), [cell.with_absolute_files() for cell in cells]
    outcomes: dict[str, str] = {}
    left = dict.fromkeys(cells, retries)
    with interrupts.deferred(), connection.connected(address) as ray:
        if not address:
            connection.check_resources(ray, *resources)
        train = ray.remote(max_calls=1, max_retries=0)(_train).options(
            num_cpus=resources.cpus, num_gpus=resources.gpus, runtime_env=_environment(resources)
        )

        def start(cell: Cell):
            return train.remote(cell, root)

        running = {start(cell): cell for cell in cells}
        try:
            while running:
                ended, _ = ray.wait(list(running), timeout=1.0)
                for reference in ended:
                    cell = running.pop(reference)
                    failure = _failure(ray, reference)
                    if not failure:
                        outcomes[cell.name] = "done"
                    elif left[cell] and failure != _failed(_WRONG_SETTINGS):
                        left[cell] -= 1
                        report(f"{cell.name}: {failure}; starting it again ({LOG} says more)")
                        running[start(cell)] = cell
                    else:
                        outcomes[cell.name] = failure
                        report(f"{cell.name}: {failure} ({root / cell.name / LOG} says more)")
                show(outcomes)
                interrupts.check()
        except errors.Interrupted:
            report("stopping: the runs write their checkpoints")
            for reference in running:
                ray.cancel(reference)
            ray.wait(list(running), num_returns=len(running), timeout=_SAVING_SECONDS)
            raise
    return outcomes


def _environment(resources: Resources) -> dict[str, Any]:
    """Returns the environment of the processes: threads, and where the user's modules are."""
    threads = str(resources.cpus)
    variables = {"TF_NUM_INTRAOP_THREADS": threads, "TF_NUM_INTEROP_THREADS": threads}
    variables["TF_CONFIG"] = ""  # runs of a sweep have nothing in common
    return {"env_vars": {**variables, **connection.python_path()}}


def _train(cell: Cell, root: pathlib.Path) -> int:
    """Trains in a process that Ray has started for it; returns what the command would exit with."""
    directory = root / cell.name
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / LOG).open("ab", buffering=0) as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.argv = ["planet-tf", "train", *cell.flags(root)]  # what the run records of its process
    runtime.silence_libraries()
    try:
        config.parse(cell.files, cell.bindings)
        training.train(directory)
    except errors.PlanetError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def _failed(status: int) -> str:
    return f"failed with exit status {status}"


def _failure(ray, reference) -> str:
    """Returns why a run is not complete, or '' if it is."""
    try:
        status = ray.get(reference)
    except ray.exceptions.RayError as error:  # its process or its machine is gone
        return f"lost ({type(error).__name__})"
    return _failed(status) if status else ""
