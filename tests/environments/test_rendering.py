"""The choice of the rendering backend."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from planet_tf.environments import rendering

ROOT = Path(rendering.__file__).parents[2]


def preflight(**variables):
    environment = {k: v for k, v in os.environ.items() if k != "PLANET_TF_RENDERING"}
    return subprocess.run(
        [sys.executable, "-m", "planet_tf.environments.rendering"],
        env={**environment, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def fresh(monkeypatch):
    """A process that has chosen nothing; returns the backends tried, of which only OSMesa works."""
    for variable in ("MUJOCO_GL", "PYOPENGL_PLATFORM", "PLANET_TF_RENDERING"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)  # so that what is set during the test is undone after it
    monkeypatch.delitem(sys.modules, "dm_control._render", raising=False)
    tried = []

    def attempt(variables):
        tried.append(variables["MUJOCO_GL"])
        works = tried[-1] == "osmesa"
        return ("llvmpipe (LLVM 15)", "") if works else ("", f"Error: no {tried[-1]} here")

    monkeypatch.setattr(rendering, "_try", attempt)
    return tried


def test_the_preflight_names_the_backend():
    done = preflight()
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("rendering in ") and "MUJOCO_GL=" in done.stdout


def test_the_preflight_says_what_to_install():
    done = preflight(MUJOCO_GL="nonsense")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and "MUJOCO_GL=nonsense: RuntimeError" in done.stderr
    for word in ("libegl1", "libgl1-mesa-dri", "libosmesa6", "unset it"):
        assert word in done.stderr


def test_egl_then_osmesa_and_the_answer_is_remembered(fresh):
    backend = rendering.choose()
    assert fresh == ["egl", "osmesa"]
    assert backend.name == os.environ["MUJOCO_GL"] == os.environ["PYOPENGL_PLATFORM"] == "osmesa"
    assert backend.software
    assert rendering.choose() == backend
    assert fresh == ["egl", "osmesa"]


def test_the_users_choice_comes_first(fresh, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    assert rendering.choose().name == "osmesa"
    assert fresh == ["osmesa"]
    monkeypatch.setenv("MUJOCO_GL", "glfw")  # another choice: the old answer does not count
    with pytest.raises(rendering.RenderingError, match="MUJOCO_GL=glfw: Error: no glfw here"):
        rendering.choose()


def test_none_works(fresh, monkeypatch):
    monkeypatch.setattr(rendering, "BACKENDS", ("egl", "other"))
    with pytest.raises(rendering.RenderingError) as error:
        rendering.choose()
    for line in ("MUJOCO_GL=egl: Error: no egl here", "MUJOCO_GL=other: Error: no other here"):
        assert line in str(error.value)
    assert "MUJOCO_GL" not in os.environ


def test_every_backend_is_tried_and_none_chosen(fresh, monkeypatch):
    works = ("osmesa", "llvmpipe (LLVM 15)", "")
    assert rendering.try_backends() == [("egl", "", "Error: no egl here"), works]
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    assert rendering.try_backends() == [works, ("egl", "", "Error: no egl here")]
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    assert [name for name, _, _ in rendering.try_backends()] == ["glfw", "egl", "osmesa"]
    assert os.environ["MUJOCO_GL"] == "glfw" and "PYOPENGL_PLATFORM" not in os.environ


@pytest.mark.parametrize(
    ("renderer", "software"),
    [
        ("llvmpipe (LLVM 15.0.6, 256 bits)", True),
        ("softpipe", True),
        ("NVIDIA H100 80GB HBM3/PCIe/SSE2", False),
        ("Mesa Intel(R) UHD Graphics 620 (KBL GT2)", False),
        ("unknown", False),
    ],
)
def test_software_renderers_are_recognised(renderer, software):
    assert rendering.Backend("egl", renderer).software == software
