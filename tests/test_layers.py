"""The packages of planet_tf, and who may import whom."""

import ast
import graphlib
import pathlib

import pytest

import planet_tf

ROOT = pathlib.Path(planet_tf.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
SHARED = {
    "action_specs", "checks", "config", "errors", "gin_internals", "ranges", "run_files", "runtime",
    "seeds", "stack", "storage", "user_modules",
}  # fmt: skip
# A package imports those named here, which stand above it, and the shared modules. (That
# `config.parse` loads `training` by its name is the one exception: it holds all settings.)
PACKAGES = {
    "models": set(),
    "planning": set(),
    "environments": set(),
    "experience": set(),
    "agents": {"models", "planning"},
    "analysis": {"models", "experience"},
    "cluster": {"environments", "experience", "agents"},
    "training": {
        "models",
        "environments",
        "experience",
        "planning",
        "agents",
        "analysis",
        "cluster",
    },
    "machine": {"models", "environments", "experience", "agents", "cluster", "training"},
    "comparisons": {"models", "experience", "planning", "agents", "analysis", "training"},
    "sweeps": {"training", "cluster"},
    "cli": {
        "models",
        "experience",
        "agents",
        "analysis",
        "training",
        "machine",
        "comparisons",
        "sweeps",
    },
}


def name(file):
    parts = file.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name(file) for file in FILES}


def imported(nodes):
    """Yields the modules of planet_tf that import statements name."""
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("planet_tf"):
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                yield module if module in MODULES else node.module
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        assert not (isinstance(node, ast.ImportFrom) and node.level), "relative import"


def packages(file, nodes):
    """Returns the packages and shared modules that a file imports, without its own."""
    found = {module.split(".")[1] for module in imported(nodes) if "." in module}
    return found - {file.relative_to(ROOT).parts[0].removesuffix(".py")}


@pytest.mark.parametrize("package", PACKAGES)
def test_package_imports_what_its_layer_allows(package):
    files = (ROOT / package).rglob("*.py")
    trees = [(file, ast.parse(file.read_text())) for file in files]
    found = set().union(*(packages(file, ast.walk(tree)) for file, tree in trees))
    assert found - SHARED == PACKAGES[package]


def test_layers_point_one_way():
    above = set()
    for package, imports in PACKAGES.items():
        assert imports <= above
        above.add(package)


def test_every_module_is_in_a_layer():
    found = {file.relative_to(ROOT).parts[0].removesuffix(".py") for file in FILES}
    assert found == {*PACKAGES, *SHARED, "__init__", "__main__"}


@pytest.mark.parametrize("module", sorted(SHARED))
def test_shared_module_imports_shared_modules_alone(module):
    file = ROOT / f"{module}.py"
    assert packages(file, ast.walk(ast.parse(file.read_text()))) <= SHARED


def test_modules_do_not_import_each_other_in_a_circle():
    trees = {name(file): ast.parse(file.read_text()) for file in FILES}
    graph = {module: {*imported(tree.body)} - {"planet_tf"} for module, tree in trees.items()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize("file", FILES, ids=name)
def test_file_is_short_and_has_a_docstring(file):
    text = file.read_text()
    assert len(text.splitlines()) <= 300
    assert ast.get_docstring(ast.parse(text))


def test_every_folder_is_a_package():
    assert {file.parent for file in FILES} == {file.parent for file in ROOT.rglob("__init__.py")}
    assert not (ROOT.parent / "gin" / "__init__.py").exists()  # it would hide the gin library
