"""Writes docs/configuration.md from the signatures and docstrings of what gin configures.

`make docs` runs it; a test checks that the file is up to date.
"""

import inspect
import pathlib
import re

from planet_tf import checks, gin_internals, runtime

PAGE = pathlib.Path(__file__).parent / "configuration.md"
HEAD = """\
# Configuration

This page is generated from the code (`make docs`). A setting is given as a gin binding, on the
command line (`--gin_bindings='train.seed=1'`) or in a gin file; later ones win. If a file, task or
setting is misspelt, the error suggests the closest name, and the command exits with status 2
before anything is trained.

`planet.gin` holds the defaults, which follow the authors' release; see
[Experiments](experiments.md) for the files that change them.
"""
ORDER = ("training", "environments", "experience", "cluster", "models", "planning", "agents")


def page() -> str:
    """Returns the page's text."""
    import planet_tf.training  # noqa: F401  # registers everything

    by_package: dict[str, list] = {package: [] for package in ORDER}
    for name, target in sorted(gin_internals.configurables().items()):
        by_package[target.__module__.split(".")[1]].append((name, target))
    sections = [section(*each) for package in ORDER for each in by_package[package]]
    return "\n".join([HEAD, *sections])


def section(name: str, target) -> str:
    """Returns the section of one configurable."""
    doc = inspect.getdoc(target) or ""
    described = arguments(doc)
    function = target.__init__ if inspect.isclass(target) else target
    annotations = inspect.get_annotations(function)
    rows = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in described and parameter.name not in gin_internals.denylist(name):
            rule = checks.rule_of(annotations.get(parameter.name))
            cells = [
                f"`{name}.{parameter.name}`",
                f"`{parameter.default!r}`",
                str(rule or ""),
                described[parameter.name],
            ]
            rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    head = [f"## {name}", "", doc.splitlines()[0], ""]
    table = ["| setting | default | values | meaning |", "|---|---|---|---|", *rows, ""]
    return "\n".join(head + table)


def arguments(doc: str) -> dict[str, str]:
    """Returns what a docstring's Args section says of each argument."""
    found = re.search(r"(?ms)^Args:\n(.*?)(?=^\w+:$|\Z)", doc)
    if not found:
        return {}
    parts = re.split(r"(?m)^  (\w+(?:, \w+)*): ", "\n" + found[1])
    described = {}
    for names, text in zip(parts[1::2], parts[2::2], strict=True):
        for name in names.split(", "):
            described[name] = " ".join(text.split())
    return described


if __name__ == "__main__":
    runtime.silence_libraries()
    PAGE.write_text(page(), encoding="utf-8")
