"""Reads gin files and bindings, and says what is wrong with them in one message."""

import contextlib
import difflib
import inspect
import logging
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence

import gin

from planet_tf import custom_code, paths


class ConfigError(ValueError):
    """A setting that cannot be used; the message names it and the way out."""


def message(error: Exception) -> str:
    """Returns an error's text without the call chain that gin adds to it."""
    lines = str(error).splitlines()
    return "\n".join(line for line in lines if "In call to configurable" not in line)


def check_whole_numbers(
    owner: str, settings: dict[str, object], least: dict[str, int] | None = None
) -> None:
    """Checks settings that are whole numbers of at least 1, or of at least what `least` says.

    Raises:
      ConfigError: for one that is not; the message names it as the owner's.
    """
    for name, value in settings.items():
        low = (least or {}).get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise ConfigError(
                f"{owner}.{name} must be a whole number of at least {low}, got {value!r}"
            )


@contextlib.contextmanager
def config_errors() -> Iterator[None]:
    """Turns what goes wrong while things are built from their settings into a ConfigError."""
    try:
        yield
    except ConfigError:
        raise
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        raise ConfigError(str(error)) from error


def parse(files: Sequence[str], bindings: Sequence[str]) -> None:
    """Parses gin files in order, then bindings; later ones win.

    A file's `include` is looked for beside it and in the working directory.

    Raises:
      ConfigError: for a missing file, a line that cannot be read, a macro without a value,
        or an unknown name, which is answered with the nearest right one.
    """
    for file in files:
        path = paths.expanded(file)
        if not path.is_file():
            near = difflib.get_close_matches(path.name, _gin_files(path.parent), 3, 0.4)
            hint = f": did you mean {' or '.join(str(path.parent / n) for n in near)}?"
            raise ConfigError(f"--gin_file={file}: no such file{hint if near else ''}")
        custom_code.name_main_module(path.read_text(encoding="utf-8", errors="replace"))
        with _settings_from(f"--gin_file={file}"), _includes_beside(path):
            gin.parse_config_file(os.fspath(path))
    for binding in bindings:
        with _settings_from(f"--gin_bindings={binding}"):
            gin.parse_config(binding)
    macros = gin.config.iterate_references(gin.config._CONFIG, to=gin.get_configurable("gin.macro"))
    for macro in macros:
        if macro.config_key not in gin.config._CONFIG:
            name = macro.scoped_selector.removesuffix("/gin.macro")
            raise ConfigError(
                f"%{name} has no value: a task's file such as gin/cheetah.gin, or gin/planet.gin, "
                "sets it; name it before the files that use it"
            )


@contextlib.contextmanager
def _includes_beside(path: pathlib.Path) -> Iterator[None]:
    """Has gin look for includes beside the file first; its own search path only grows."""
    prefixes = gin.config._LOCATION_PREFIXES
    prefixes.insert(0, os.fspath(path.parent))
    try:
        yield
    finally:
        prefixes.pop(0)


@contextlib.contextmanager
def _settings_from(source: str) -> Iterator[None]:
    """Names the source of settings that gin cannot read, and the right name for a wrong one."""
    logging.disable(logging.ERROR)  # gin logs an error for each place where an include is not
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            f"{source}: {str(error).splitlines()[0]}: PYTHONPATH must hold the module's folder"
        ) from error
    except Exception as error:  # gin's parser raises many kinds, the tokenizer's own among them
        raise ConfigError(f"{source}: {error}{_suggestion(str(error))}") from error
    finally:
        logging.disable(logging.NOTSET)


def check_training(given: dict) -> None:
    """Raises ConfigError for a setting of `training.train` that cannot be right."""
    choices = {"jit_compile": (True, False, None), "random_collection": (True, False)}
    for name, right in choices.items():
        if not any(given[name] is choice for choice in right):
            raise ConfigError(
                f"train.{name} must be one of {', '.join(map(str, right))}, got {given[name]!r}"
            )
    numbers = {
        name: value
        for name, value in given.items()
        if name not in ("root_dir", "task", "device", *choices)
    }
    check_whole_numbers("train", numbers, {"seed": 0, "chunk_length": 2})
    task = given["task"]
    several = len(task) if isinstance(task, (tuple, list)) else 1
    if given["seed_episodes"] < several:
        raise ConfigError(
            f"train.seed_episodes ({given['seed_episodes']}) must be at least the number of "
            f"tasks, {several}: they are counted over all tasks"
        )
    if given["episodes"] <= given["seed_episodes"]:
        raise ConfigError(
            f"train.episodes ({given['episodes']}) must exceed train.seed_episodes "
            f"({given['seed_episodes']}), which are random: nothing would be learned"
        )


def value_of(configurable: Callable, name: str):
    """Returns what gin gives a parameter, or else its default."""
    bound = gin.get_bindings(configurable)
    return bound.get(name, inspect.signature(configurable).parameters[name].default)


def differences(before: str, now: str) -> dict[str, str]:
    """Returns 'OLD -> NEW' by name of the settings that two texts of gin give different values."""
    old, new = (settings(text) for text in (before, now))
    names = [name for name in new if name in old and old[name] != new[name]]
    return {name: f"{old[name]} -> {new[name]}" for name in names}


def owner(setting: str) -> str:
    """Returns what a setting is of: RSSMCell of scope/planet_tf.RSSMCell.size."""
    return setting.split("/")[-1].rpartition(".")[0].rpartition(".")[2]


def settings(text: str) -> dict[str, str]:
    """Reads 'NAME = VALUE' lines of gin, of several lines too; macros as what they are."""
    text = re.sub(r"(?m)^(#.*|import .*)$|\\\n", "", text)
    parts = re.split(r"(?m)^([\w./]+) *= *", text)
    values = (" ".join(value.split()) for value in parts[2::2])
    found = dict(zip(parts[1::2], values, strict=True))

    def resolved(value: str) -> str:
        return re.sub(r"%(\w+)", lambda macro: found.get(macro[1], macro[0]), value)

    return {name: resolved(value) for name, value in found.items() if "." in name}


def default_root_dir(files: Sequence[str]) -> str:
    """Names a run after its gin files: gin/cup.gin and gin/debug.gin give runs/cup-debug."""
    return os.path.join("runs", "-".join(pathlib.Path(file).stem for file in files) or "default")


def _gin_files(directory: pathlib.Path) -> list[str]:
    return sorted(path.name for path in directory.glob("*.gin"))


def _suggestion(message: str) -> str:
    """Finds the nearest right name for the unknown one that gin's message holds."""
    registry = gin.config._REGISTRY  # gin has no public list of what can be configured
    configurables = {
        configurable.name: configurable.wrapped
        for _, configurable in registry.items()
        if (configurable.module or "").startswith("planet_tf")
    }
    unknown = re.search(r"No configurable matching (?:reference )?'@?([\w./]+)", message)
    if unknown:
        wrong, known = unknown[1].split(".")[0], list(configurables)
        hint = (
            "; if it is yours, import the module that defines it first: "
            "--gin_bindings='import MODULE', with its folder in PYTHONPATH"
        )
    else:
        unknown = re.search(r"'?([\w.]+)'? doesn't have a parameter.*? named '?(\w+)'?", message)
        if not unknown:
            return ""
        owner, wrong = unknown[1].split(".")[-1], unknown[2]
        if owner not in configurables:
            return ""
        known, hint = list(inspect.signature(configurables[owner]).parameters), ""
    near = difflib.get_close_matches(wrong, known, 1, 0.4)
    if near:
        return f"\n{wrong!r}: did you mean {near[0]!r}?{hint}"
    return f"\n{wrong!r} is none of: {', '.join(sorted(known))}{hint}"
