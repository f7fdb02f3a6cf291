"""Compares installed packages with what planet_tf needs. Imports the standard library alone."""

import platform
from collections.abc import Iterator
from importlib import metadata

from planet_tf import stack
from planet_tf.machine.findings import Finding, summary

INSTALL = "make setup, or pip install -e . && pip install --no-deps -r requirements-nodeps.txt"
_PACKAGE = "planet_tf"


def installed() -> Iterator[Finding]:
    """Compares Python and the packages with planet_tf's metadata."""
    try:
        from packaging.requirements import Requirement
        from packaging.specifiers import SpecifierSet

        about = metadata.metadata(_PACKAGE)
        lines = [*(metadata.requires(_PACKAGE) or []), *stack.WITHOUT_DEPENDENCIES]
    except (ImportError, metadata.PackageNotFoundError) as error:
        yield Finding("bad", "packages", f"the pins cannot be read: {summary(error)}", INSTALL)
        return
    python, asked = platform.python_version(), about["Requires-Python"] or ""
    if SpecifierSet(asked).contains(python, prereleases=True):
        yield Finding("ok", "python", python)
    else:
        yield Finding("bad", "python", f"{python} is not {asked}", "make PYTHON=/path/to/another")
    requirements = [Requirement(line) for line in lines]
    base = [each for each in requirements if _asked_for(each, "")]
    wrong = [problem for each in base for problem in problems(each)]
    for problem in wrong:
        yield Finding("bad", "packages", problem, INSTALL)
    if not wrong:
        versions = ", ".join(f"{each.name} {metadata.version(each.name)}" for each in base)
        yield Finding("ok", "packages", f"as pinned: {versions}")
    for extra in about.get_all("Provides-Extra") or []:
        extras = [each for each in requirements if each not in base and _asked_for(each, extra)]
        wrong = [problem for each in extras for problem in problems(each)]
        if wrong:
            more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            hint = f'pip install -e ".[{extra}]", if it is wanted'
            yield Finding("note", f"extra {extra}", wrong[0] + more, hint)
        elif extras:
            yield Finding("ok", f"extra {extra}", "installed")


def problems(requirement) -> list[str]:
    """Lists missing packages and wrong versions, of a requirement and of the extras it names."""
    from packaging.requirements import Requirement

    name = requirement.name
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return [f"{name} is missing"]
    if not requirement.specifier.contains(version, prereleases=True):
        return [f"{name} {version} is not {requirement.specifier}"]
    parts = [Requirement(line) for line in metadata.requires(name) or []]
    return [
        problem
        for extra in requirement.extras
        for part in parts
        if _asked_for(part, extra) and not _asked_for(part, "")
        for problem in problems(part)
    ]


def _asked_for(requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})
