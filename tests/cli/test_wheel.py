"""The wheel: it holds every module and preset, and trains without the checkout."""

import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[2]
BUILD = "pip wheel --quiet --no-deps --no-build-isolation --disable-pip-version-check --wheel-dir"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Builds the wheel and unpacks it; returns its folder."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a build leaves files in its folder
    for name in ("planet_tf", "gin"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", *BUILD.split(), str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "installed")
    return folder / "installed"


def files(folder, suffix):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob(f"*{suffix}"))


def test_wheel_holds_every_module_and_preset(installed):
    assert files(installed / "planet_tf", ".py") == files(ROOT / "planet_tf", ".py")
    assert files(installed / "planet_tf" / "presets", ".gin") == files(ROOT / "gin", ".gin")
    (metadata,) = installed.glob("*.dist-info")
    assert (metadata / "top_level.txt").read_text().split() == ["planet_tf"]
    scripts = (metadata / "entry_points.txt").read_text().split("\n")
    assert scripts[:2] == ["[console_scripts]", "planet-tf = planet_tf.cli:main"]


@pytest.mark.slow  # installs and trains
def test_wheel_trains_without_the_checkout(installed, python, tmp_path):
    place = python(
        "-c", "import planet_tf; print(planet_tf.__file__)", cwd=tmp_path, path=installed
    )
    assert place.stdout.strip() == str(installed / "planet_tf" / "__init__.py")
    settings = {
        "train.seed_episodes": 1,
        "train.episodes": 2,
        "train.updates_per_episode": 1,
        "train.export_every": 3,
        "load_environment.action_repeat": 100,
    }
    # The state, because images would need a rendering backend.
    presets = ("cheetah.gin", "debug.gin", "ablations/state.gin")
    flags = [f"--gin_file={name}" for name in presets]
    flags += [f"--gin_bindings={name}={value}" for name, value in settings.items()]
    done = python("-m", "planet_tf", "train", *flags, cwd=tmp_path, path=installed)
    assert done.returncode == 0 and "gym" not in done.stderr.lower(), done.stderr
    run = tmp_path / "runs" / "cheetah-debug-state"
    assert (run / "policy" / "saved_model.pb").is_file()
    assert " evaluate runs/cheetah-debug-state" in done.stdout
