"""The user's modules that a run needs because its gin settings or tasks refer to them."""

import os
import pathlib
import re
import site
import sys
import sysconfig
from collections.abc import Iterable

import gin


def main_module() -> str | None:
    """Returns the name under which other programs import the running script; None: they cannot."""
    main = sys.modules["__main__"]
    if main.__spec__:  # python -m package.module
        return main.__spec__.name
    file = getattr(main, "__file__", None)
    return pathlib.Path(file).stem if file else None


def name_main_module(config: str) -> None:
    """Lets an 'import MODULE' line of a gin config find the running script if it is that module.

    Otherwise gin would execute the script again, and know its configurables twice.
    """
    name = main_module()
    if name and re.search(rf"(?m)^import {re.escape(name)}$", config):
        sys.modules.setdefault(name, sys.modules["__main__"])


def missing_imports(config: str) -> list[str]:
    """Returns the 'import MODULE' lines that a gin config needs before it can be parsed elsewhere.

    They import configurables that neither planet_tf nor gin defines, such as an encoder in the
    running script. What an interactive session defines cannot be imported and is left out.
    """
    text = re.sub(r"(?m)^#.*$", "", config)
    names = re.findall(r"(?m)^([\w./]+)\.\w+ *=|@([\w./]+)", text)
    modules = set()
    for name in {owner or reference for owner, reference in names}:
        try:
            module = gin.get_configurable(name.split("/")[-1]).__module__
        except ValueError:
            continue
        if module == "__main__":
            module = main_module()
        if module and module.split(".")[0] not in ("planet_tf", "gin"):
            modules.add(module)
    lines = [f"import {module}" for module in sorted(modules)]
    return [line for line in lines if not re.search(rf"(?m)^{re.escape(line)}$", config)]


def needed(settings: str, tasks: Iterable[str]) -> list[str]:
    """Returns the modules that gin text imports, and those of tasks.

    Tasks 'module:function' have one, and 'gym:module:ID', where the module registers the ID.
    """
    parts = [task.removeprefix("gym:").split(":") for task in tasks]
    modules = [found[0] for found in parts if len(found) == 2]
    return modules + re.findall(r"(?m)^import ([\w.]+)$", settings)


def folders(modules: Iterable[str]) -> list[str]:
    """Returns the folders that PYTHONPATH must hold to import these modules from another program.

    Installed packages need none; the working directory is '.'.
    """
    found = {source.parent for source in map(pathlib.Path, sources(modules))}
    return sorted("." if path == pathlib.Path.cwd() else os.fspath(path) for path in found)


def sources(modules: Iterable[str]) -> list[str]:
    """Returns the files, or the folders of top-level packages, that hold these modules.

    Installed packages are left out.
    """
    installed = [*site.getsitepackages(), sysconfig.get_path("stdlib")]
    found = set()
    for name in modules:
        main = name == main_module() and name not in sys.modules
        file = getattr(sys.modules["__main__" if main else name], "__file__", None)
        if file is None:
            continue
        source = pathlib.Path(file).resolve()
        if source.name == "__init__.py":  # a package is its folder
            source = source.parent
        for _ in range(name.count(".")):
            source = source.parent
        if not any(source.is_relative_to(path) for path in installed):
            found.add(os.fspath(source))
    return sorted(found)
