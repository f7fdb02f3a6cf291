"""The two stacks: Keras, rendering beside TensorFlow, silence, and files that must agree."""

import configparser
import os
import platform
import re
import subprocess
import sys

import pytest
from conftest import ROOT
from packaging.requirements import Requirement

from planet_tf import errors, stack
from planet_tf.environments import rendering

modern = pytest.mark.skipif(not stack.is_modern(), reason="needs TensorFlow 2.16 or later")


@pytest.fixture
def script(tmp_path):
    """Runs Python text in a process in which nothing has been set for TensorFlow."""
    rendering.choose()  # once: the processes inherit the answer

    def run(text):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
        return subprocess.run(
            [sys.executable, "-c", text],
            env={**environment, "PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


RENDER = "planet_tf.load_environment('cartpole_swingup').reset()\nprint('rendered')\n"


def test_keras_is_keras_2_frames_are_rendered_and_nothing_is_printed(script):
    done = script(
        "from planet_tf import runtime\n"
        "runtime.silence_libraries()\n"
        "import planet_tf, tensorflow as tf, tf_agents.agents\n"
        "print(tf.keras.Model.__module__.split('.')[0])\n" + RENDER
    )
    keras = "tf_keras" if stack.is_modern() else "keras"
    assert (done.stdout.split(), done.stderr) == ([keras, "rendered"], "")


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="x86 alone")
def test_onednn_is_on_unless_the_user_says_otherwise(script):
    """On older CPUs TensorFlow would leave it off, and updates would take much longer."""
    said = "import planet_tf, os\nprint(os.environ['TF_ENABLE_ONEDNN_OPTS'])\n"
    assert script(said).stdout == "1\n"
    assert script(f"import os\nos.environ['TF_ENABLE_ONEDNN_OPTS'] = '0'\n{said}").stdout == "0\n"


def test_tensorflow_before_planet_tf_renders_or_says_why_not(script):
    done = script("import tensorflow\nimport planet_tf\n" + RENDER)
    if rendering.choose().software and stack.is_modern():
        assert done.returncode == 1 and "import planet_tf first" in done.stderr
        assert "Segmentation" not in done.stderr
    else:
        assert done.stdout.strip() == "rendered", done.stderr


@modern
def test_keras_3_in_use_is_refused(script):
    done = script("import tensorflow as tf\ntf.keras.Model\nimport planet_tf\n")
    assert done.returncode == 1 and "import planet_tf before TensorFlow" in done.stderr


@modern
def test_a_software_renderer_is_refused_after_global_symbols(monkeypatch):
    monkeypatch.setitem(sys.modules, stack._GLOBAL_SYMBOLS, object())
    with pytest.raises(errors.RenderingError, match="TensorFlow was imported before planet_tf"):
        rendering._checked(rendering.Backend("egl", "llvmpipe (LLVM 15)"))
    assert rendering._checked(rendering.Backend("egl", "NVIDIA H100")).name == "egl"


@pytest.mark.parametrize("missing", ["tf_agents", "dm_control"])
def test_a_missing_package_is_one_line(script, missing):
    done = script(
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda n, *p: None if n == {missing!r} else find(n, *p)\n"
        "from planet_tf import cli\n"
        "sys.exit(cli.main(['train', '--gin_file=cheetah.gin']))\n"
    )
    (line, hint) = done.stderr.splitlines()
    assert done.returncode == 2 and line.startswith("error: ") and "not installed" in line
    assert "make setup" in hint and "pip install --no-deps" in hint


def test_notes_are_removed_and_errors_kept(capfd):
    with stack._without_notes():
        os.write(2, b"I0000 00:00:17 1 cudart_stub.cc:31] no cuda\nF0000 the CPU has no AVX\n")
    assert capfd.readouterr().err == "F0000 the CPU has no AVX\n"


# Files that must agree.


def requirements(*extras):
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options"]["install_requires"].splitlines()
    for extra in extras:
        lines += setup["options.extras_require"][extra].splitlines()
    return [Requirement(line) for line in lines if line.strip()]


def apply(needed, python):
    return [
        each
        for each in needed
        if each.marker is None or each.marker.evaluate({"python_version": python, "extra": ""})
    ]


def nodeps():
    text = (ROOT / "requirements-nodeps.txt").read_text()
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_packages_without_dependencies_are_the_same_everywhere():
    assert tuple(nodeps()) == stack.WITHOUT_DEPENDENCIES
    group = re.search(r"nodeps = \[\n(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL)[1]
    assert re.findall(r'"(.+)"', group) == [line.replace('"', "'") for line in nodeps()]


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_every_python_gets_one_of_each_package(python):
    needed = [*apply(requirements(), python), *apply(map(Requirement, nodeps()), python)]
    names = [each.name.lower().replace("_", "-") for each in needed]
    assert len(set(names)) == len(names)
    card = {"tensorflow", "tensorflow-probability", "tf-agents", "dm-control", "numpy"}
    assert card | {"gin-config"} <= set(names)


def test_pythons_agree():
    setup, project = (ROOT / "setup.cfg").read_text(), (ROOT / "pyproject.toml").read_text()
    assert "python_requires = >=3.10,<3.14" in setup
    assert 'requires-python = ">=3.10,<3.14"' in project
    named = re.findall(r"Python :: (3\.\d+)", setup)
    assert named == ["3.10", "3.11", "3.12", "3.13"]
    assert (
        re.search(r"for version in (.*); do", (ROOT / ".ci/pythons").read_text())[1].split()
        == (named[::-1])
    )


def locked(package):
    """Returns the versions of a package in uv.lock."""
    text = (ROOT / "uv.lock").read_text()
    return re.findall(rf'^name = "{package}"\nversion = "(.+)"', text, re.MULTILINE)


def test_the_lock_has_not_drifted():
    needed = [*requirements("gpu", "gymnasium", "view", "dev"), *map(Requirement, nodeps())]
    for each in needed:
        versions = locked(each.name.lower().replace("_", "-"))
        assert any(map(each.specifier.contains, versions)), f"{each}: run `uv lock`"
    text = (ROOT / "uv.lock").read_text()
    own = re.search(r"\[package.metadata\]\nrequires-dist = \[\n(.*?)\n\]", text, re.DOTALL)[1]
    recorded = set(re.findall(r'name = "([^"]+)"', own))
    assert recorded == {each.name.lower().replace("_", "-") for each in needed[: -len(nodeps())]}


def test_dockerfile_installs_what_the_docs_say():
    text = (ROOT / "Dockerfile").read_text()
    for package in rendering.PACKAGES["egl"].split():
        assert package in text
    setup = (ROOT / "docs" / "setup.md").read_text()
    commands = re.findall(r"pip install (?:-e|--no-deps) .*", text)
    assert len(commands) == 2
    for command in commands:
        assert command.rstrip(" \\&").replace("gpu,view", "gpu") in setup
    for name in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE):
        assert all((ROOT / part).exists() for part in name.split())
    image = re.search(r"^FROM python:(3\.\d+)", text, re.MULTILINE)[1]
    assert apply(requirements(), image)


def test_files_of_the_docs_import_planet_tf_before_tensorflow():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        for block in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S):
            modules = re.findall(r"^(?:import|from) (\w+)", block, re.MULTILINE)
            if "planet_tf" in modules:
                before = modules[: modules.index("planet_tf")]
                late = {"tensorflow", "tensorflow_probability", "tf_agents", "dm_control"}
                assert not late & set(before), f"{page.name}: {before}"
