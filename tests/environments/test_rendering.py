"""The choice of the rendering backend."""

import os
import sys

import pytest

from planet_tf import errors
from planet_tf.environments import rendering


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


def test_the_preflight_names_the_backend(capsys):
    assert rendering.main() == 0
    backend = rendering.choose()
    out = capsys.readouterr().out
    assert f"MUJOCO_GL={backend.name}" in out and backend.renderer in out


def test_the_preflight_says_what_to_install(python, monkeypatch):
    monkeypatch.delenv("PLANET_TF_RENDERING", raising=False)
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    done = python("-m", "planet_tf.environments.rendering")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and "MUJOCO_GL=nonsense: RuntimeError" in done.stderr
    for word in ("libegl1", "libgl1-mesa-dri", "libosmesa6"):
        assert word in done.stderr


def test_the_probe_finds_modules_where_this_process_does(tmp_path, monkeypatch):
    (tmp_path / "found_by_path.py").write_text("renderer = 'llvmpipe'")
    probe = "import found_by_path\nprint('renders with', found_by_path.renderer)\n"
    monkeypatch.setattr(rendering, "_PROBE", probe)
    assert "ModuleNotFoundError" in rendering._try({})[1]
    monkeypatch.syspath_prepend(tmp_path)
    assert rendering._try({}) == ("llvmpipe", "")


def test_egl_is_tried_before_osmesa_and_the_answer_kept(fresh):
    backend = rendering.choose()
    assert fresh == ["egl", "osmesa"]
    assert backend.name == os.environ["MUJOCO_GL"] == os.environ["PYOPENGL_PLATFORM"] == "osmesa"
    assert backend.software
    assert rendering.choose() == backend
    assert fresh == ["egl", "osmesa"]


def test_the_users_choice_is_the_only_one_tried(fresh, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    assert rendering.choose().name == "osmesa"
    assert fresh == ["osmesa"]
    monkeypatch.setenv("MUJOCO_GL", "glfw")  # another choice: the old answer does not count
    with pytest.raises(errors.RenderingError, match="MUJOCO_GL=glfw: Error: no glfw here"):
        rendering.choose()
    assert fresh == ["osmesa", "glfw"]


def test_the_error_lists_every_backend_tried(fresh, monkeypatch):
    monkeypatch.setattr(rendering, "BACKENDS", ("egl", "other"))
    with pytest.raises(errors.RenderingError) as error:
        rendering.choose()
    for line in ("MUJOCO_GL=egl: Error: no egl here", "MUJOCO_GL=other: Error: no other here"):
        assert line in str(error.value)
    assert "MUJOCO_GL" not in os.environ


def test_all_backends_can_be_tried_without_a_choice(fresh, monkeypatch):
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
