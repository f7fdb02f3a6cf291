"""Reads gin files and bindings, and explains in one message what is wrong with them."""

import contextlib
import importlib
import inspect
import logging
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import gin

from planet_tf import checks, errors, gin_internals, storage, user_modules


def presets() -> pathlib.Path:
    """Returns the folder of the gin files that come with planet_tf."""
    installed = pathlib.Path(__file__).parent / "presets"  # in a wheel
    return installed if installed.is_dir() else pathlib.Path(__file__).parents[1] / "gin"


def find(file: str | os.PathLike) -> pathlib.Path:
    """Returns the path of a gin file: as named, or among the presets.

    `cheetah.gin` and `gin/cheetah.gin` find the preset from any working directory.

    Raises:
      ConfigError: if there is no such file; the hint has the nearest names.
    """
    file, path = os.fspath(file), storage.expand(file)
    preset = presets() / file.removeprefix("gin/")
    for candidate in (path, preset):
        if candidate.is_file():
            return candidate
    known = [os.fspath(path.parent / near.name) for near in path.parent.glob("*.gin")]
    known += [near.relative_to(presets()).as_posix() for near in presets().rglob("*.gin")]
    raise errors.ConfigError(f"--gin_file={file}: no such file", checks.did_you_mean(file, known))


def configure(files: Sequence[str | os.PathLike], bindings: Sequence[str] = ()) -> None:
    """Replaces all gin settings by those of files and bindings; see `parse`."""
    gin.clear_config()
    parse(files, bindings)


def parse(files: Sequence[str | os.PathLike], bindings: Sequence[str] = ()) -> None:
    """Parses gin files in order, then bindings, on top of the settings so far; later ones win.

    A file's `include` is searched for in the file's folder, in the working directory and among the
    presets.

    Args:
      files: paths, or names of presets such as 'cheetah.gin'.
      bindings: settings such as 'train.seed = 1'.

    Raises:
      ConfigError: for a missing file, files in the wrong order, a line that cannot be read, a macro
        without a value or without a use, or an unknown name, with the nearest right one.
    """
    importlib.import_module("planet_tf.training")  # what the settings are settings of
    first = ""  # of the files that hold only some of the settings
    for file in files:
        path = find(file)
        user_modules.name_main_module(path.read_text(encoding="utf-8", errors="replace"))
        with (
            _settings_from(f"--gin_file={file}"),
            gin_internals.includes_from(path.parent, presets()),
        ):
            sets_all = _includes(gin.parse_config_file(os.fspath(path)), "planet.gin")
        if sets_all and first:
            raise errors.ConfigError(
                f"--gin_file={file} sets everything, and undoes --gin_file={first}",
                f"name {file} before {first}",
                "--gin_file",
            )
        first = first or ("" if sets_all else os.fspath(file))
    for binding in bindings:
        with _settings_from(f"--gin_bindings={binding}"):
            gin.parse_config(binding)
    for macro in gin_internals.macros_without_value():
        raise errors.ConfigError(
            f"%{macro} has no value",
            "a task's file such as gin/cheetah.gin sets it: name that file before this one",
        )
    for macro in gin_internals.unused_macros():
        known = _preset_macros()
        if macro.startswith("CPU_") and macro not in known:
            raise errors.ConfigError(f"{macro} is used nowhere", _nearest(macro, known))


def _includes(parsed: gin.config.ParsedConfigFileIncludesAndImports, name: str) -> bool:
    """Whether a gin file has this name, or includes one that has."""
    has_name = pathlib.Path(parsed.filename).name == name
    return has_name or any(_includes(each, name) for each in parsed.includes)


def _preset_macros() -> list[str]:
    """Returns the macros that task files may set; without a size preset they are not used."""
    text = (presets() / "planet.gin").read_text(encoding="utf-8")
    return re.findall(r"(?m)^(CPU_\w+) =", text)


@contextlib.contextmanager
def _settings_from(source: str) -> Iterator[None]:
    """Turns gin's parse errors into a ConfigError that names the source."""
    logging.disable(logging.ERROR)  # gin logs an error for every folder without an included file
    try:
        yield
    except ImportError as error:
        first = str(error).splitlines()[0]
        raise errors.ConfigError(
            f"{source}: {first}", "PYTHONPATH must hold the module's folder"
        ) from error
    except Exception as error:  # gin's parser raises many kinds, the tokenizer's own among them
        raise errors.ConfigError(f"{source}: {error}", _hint(str(error))) from error
    finally:
        logging.disable(logging.NOTSET)


def _hint(message: str) -> str:
    """Returns the nearest right name for the unknown one in gin's message."""
    configurables = gin_internals.configurables()
    unknown = re.search(r"No configurable matching (?:reference )?'@?([\w./]+)", message)
    if unknown:
        name = unknown[1].split(".")[0]
        yours = (
            "if it is yours, import its module first: --gin_bindings='import MODULE', with the "
            "module's folder in PYTHONPATH"
        )
        return f"{_nearest(name, configurables)}; {yours}"
    unknown = re.search(r"'?([\w.]+)'? doesn't have a parameter.*? named '?(\w+)'?", message)
    if unknown and (owner := unknown[1].split(".")[-1]) in configurables:
        return _nearest(unknown[2], inspect.signature(configurables[owner]).parameters)
    if bare := re.search(r"Failed to parse token '(\w+)'", message):
        return f"texts need quotes: '{bare[1]}'"
    return ""


def _nearest(wrong: str, known) -> str:
    near = checks.did_you_mean(wrong, known, cutoff=0.4)
    return near or f"{wrong!r} is none of: {', '.join(sorted(known))}"


def value_of(configurable, name: str):
    """Returns the value that gin gives an argument, or its default."""
    bound = gin.get_bindings(configurable)
    return bound.get(name, inspect.signature(configurable).parameters[name].default)


def in_use(also: Callable[[str], bool] = lambda owner: False) -> str:
    """Returns all settings in use as gin text that other processes can parse.

    Args:
      also: says of a configurable that is not in use, by its name, whether its settings are
        included, too.
    """
    bound = settings(gin.config_str())
    text = _without_inherited_scopes(gin.operative_config_str(), bound)
    written = settings(text)
    used = {owner(name) for name in written}
    for name, value in bound.items():
        if name not in written and (owner(name) in used or also(owner(name))):
            text += f"{name} = {value}\n"
    return "".join(f"{line}\n" for line in user_modules.missing_imports(text)) + text


def _without_inherited_scopes(text: str, bound: Mapping[str, str]) -> str:
    """Names settings by the scope that they are bound in, or none, instead of the one of their use.

    So `ICEM.candidates = 50` still reaches @memory/ICEM() where only memory/ICEM.std is bound.
    """

    def named(match: re.Match) -> str:
        scope, setting = match[1], match[2]
        while scope and f"{scope}/{setting}" not in bound:
            scope = scope.rpartition("/")[0]
        return f"{scope}/{setting} =" if scope else f"{setting} ="

    return re.sub(r"(?m)^([\w./]+)/([\w.]+) *=", named, text)


def differences(before: str, now: str) -> dict[str, str]:
    """Returns 'OLD -> NEW' by name for settings that differ between two gin texts."""
    old, new = settings(before), settings(now)
    names = [name for name in new if name in old and old[name] != new[name]]
    return {name: f"{old[name]} -> {new[name]}" for name in names}


def owner(setting: str) -> str:
    """Returns whose setting it is: RSSMCell for scope/planet_tf.RSSMCell.size."""
    return setting.split("/")[-1].rpartition(".")[0].rpartition(".")[2]


def settings(text: str) -> dict[str, str]:
    """Reads the 'NAME = VALUE' statements of gin text, which may span lines; resolves macros."""
    text = re.sub(r"(?m)^(#.*|import .*)$|\\\n", "", text)
    parts = re.split(r"(?m)^([\w./]+) *= *", text)
    values = (" ".join(value.split()) for value in parts[2::2])
    found = dict(zip(parts[1::2], values, strict=True))

    def resolved(value: str) -> str:
        def value_of_macro(macro: re.Match) -> str:
            return resolved(found[macro[1]]) if macro[1] in found else macro[0]

        return re.sub(r"%(\w+)", value_of_macro, value)

    return {name: resolved(value) for name, value in found.items() if "." in name}


def default_root_dir(files: Sequence[str]) -> str:
    """Names a run after its gin files: gin/cup.gin and gin/debug.gin give runs/cup-debug."""
    return os.path.join("runs", "-".join(pathlib.Path(file).stem for file in files) or "default")
