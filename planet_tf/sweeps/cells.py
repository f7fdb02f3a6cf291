"""The cells of a sweep: tasks x grid x seeds, each the settings of one run."""

import ast
import dataclasses
import itertools
import os
import pathlib
import re
import shlex
from collections.abc import Sequence

import gin

from planet_tf import config, errors, run_files
from planet_tf.training import Settings, tasks

Grid = Sequence[tuple[str, Sequence[str]]]
"""Settings that vary: their names, and their values as gin writes them."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Attributes:
      name: of its directory, VARIANT-seedN.
      files: gin files.
      bindings: gin bindings, the seed's among them.
    """

    name: str
    files: tuple[str, ...]
    bindings: tuple[str, ...]

    def with_absolute_files(self) -> "Cell":
        """Returns the run for another working directory; presets keep their names."""
        return dataclasses.replace(self, files=tuple(map(_absolute, self.files)))

    def flags(self, root: pathlib.Path) -> list[str]:
        """Returns the flags of `planet-tf train` for this run in a sweep's directory."""
        return [
            *(f"--gin_file={file}" for file in self.files),
            *(f"--gin_bindings={binding}" for binding in self.bindings),
            f"--root_dir={root / self.name}",
        ]

    def command(self, root: pathlib.Path) -> str:
        """Returns the command that trains this run, in one line for a shell."""
        return shlex.join(["planet-tf", "train", *self.flags(root)])


def _absolute(file: str) -> str:
    path = pathlib.Path(file).resolve()
    is_own = path.is_file() and not path.is_relative_to(config.presets().resolve())
    return os.fspath(path) if is_own else file


def make(
    named: Sequence[str],
    files: Sequence[str],
    bindings: Sequence[str],
    grid: Grid,
    seeds: Sequence[int],
) -> list[Cell]:
    """Returns the cells, seeds varying fastest.

    Args:
      named: tasks: gin files such as 'cheetah.gin', or names of environments, which are trained
        with planet.gin.
      files: gin files for all, after the task's.
      bindings: for all.
      grid: what varies; each value of a setting is combined with each of the others.
      seeds: of each combination.

    Raises:
      ConfigError: if two cells have one name, or a setting is the seed.
    """
    given = [binding.partition("=")[0].strip() for binding in bindings]
    if "train.seed" in [*given, *(name for name, _ in grid)]:
        raise errors.ConfigError(
            "train.seed cannot be set for all runs of a sweep, nor vary in its grid",
            "--seeds sets it, such as --seeds=0:3",
            "train.seed",
        )
    choices = [[(name, value) for value in values] for name, values in grid]
    cells = []
    for task, chosen, seed in itertools.product(named, itertools.product(*choices), seeds):
        is_file = task.endswith(".gin")
        parts = [pathlib.Path(task).stem if is_file else task]
        parts += [pathlib.Path(file).stem for file in files]
        parts += [f"{name.split('.')[-1]}={value}" for name, value in chosen]
        cells.append(
            Cell(
                re.sub(r"[^\w.=+-]+", "_", "-".join([*parts, f"seed{seed}"])),
                (task if is_file else "planet.gin", *files),
                (
                    *([] if is_file else [f"train.task = {task!r}"]),
                    *bindings,
                    *(f"{name} = {value}" for name, value in chosen),
                    f"train.seed = {seed}",
                ),
            )
        )
    names = [cell.name for cell in cells]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise errors.ConfigError(
            f"two runs of the sweep would share a directory: {', '.join(twice)}",
            "name each task, seed and value once",
        )
    return cells


# How long, on what and beside what a run trains: its results stay comparable.
_MAY_CHANGE = (
    "train.episodes",
    "train.device",
    "train.jit_compile",
    "train.export_every",
    "ImaginedReturn.parts",
)


def _refuse_another(directory: pathlib.Path) -> None:
    """Raises ConfigError if a run has other settings than those parsed; some may change."""
    file = directory / run_files.SETTINGS
    before = file.read_text(encoding="utf-8") if file.is_file() else ""
    changed = config.differences(before, gin.config_str())
    found = {name: change for name, change in changed.items() if name not in _MAY_CHANGE}
    if found:
        changes = "; ".join(f"{name}: {change}" for name, change in found.items())
        raise errors.ConfigError(
            f"{directory} holds a run with other settings, then -> now: {changes}",
            "name another directory for this sweep with --root_dir",
            "--root_dir",
        )


def parse_grid(text: str) -> tuple[str, list[str]]:
    """Returns a setting and its values from 'NAME = [VALUE, ...]'.

    Raises:
      ConfigError: if it has another form.
    """
    name, _, values = text.partition("=")
    try:
        found = ast.literal_eval(values.strip())
        if not isinstance(found, list) or not found or not name.strip():
            raise ValueError
    except (ValueError, SyntaxError) as error:
        raise errors.ConfigError(
            f"--grid must be NAME=[VALUE, ...], got {text!r}",
            "such as --grid 'PlanetAgent.learning_rate=[1e-3, 3e-4]'",
            "--grid",
        ) from error
    return name.strip(), [repr(value) for value in found]


def parse_seeds(text: str) -> list[int]:
    """Returns seeds from '0:5', which are 0 to 4, or '0,3,7', or '0'.

    Raises:
      ConfigError: if it has another form.
    """
    if span := re.fullmatch(r"(\d+):(\d+)", text):
        seeds = list(range(int(span[1]), int(span[2])))
    else:
        seeds = [int(part) for part in text.split(",")] if re.fullmatch(r"\d+(,\d+)*", text) else []
    if not seeds:
        raise errors.ConfigError(
            f"--seeds must be such as 0:5 (0 to 4) or 0,3,7, got {text!r}", setting="--seeds"
        )
    return seeds


def check(cells: Sequence[Cell], root: pathlib.Path, by_ray: bool = True) -> dict[str, int]:
    """Parses the settings of all cells, before any is trained.

    Args:
      cells: the runs.
      root: the sweep's directory; it may hold a part of this sweep, but no other's runs.
      by_ray: whether each is to be trained in a process of Ray, which cannot start another Ray.

    Returns:
      the episodes of each cell's run, by its name.

    Raises:
      ConfigError: if one cannot be used; the message names the cell.
    """
    episodes = {}
    for cell in cells:
        try:
            config.configure(cell.files, cell.bindings)
            with errors.as_config_errors():
                settings = Settings()
            tasks.checked(settings.task)
            if by_ray and settings.collectors:
                raise errors.ConfigError(
                    f"train.collectors ({settings.collectors}) must be 0 in a sweep: Ray runs it, "
                    "and a run cannot start Ray again",
                    "--dry_run prints one command per run; run that way, they may have collectors",
                    "train.collectors",
                )
            _refuse_another(root / cell.name)
        except errors.ConfigError as error:
            message = f"{cell.name}: {error.message}"
            raise errors.ConfigError(message, error.hint, error.setting) from error
        episodes[cell.name] = settings.episodes
    gin.clear_config()
    return episodes
