"""The user's own modules: found, named and imported again by other processes."""

import sys
import types

import gin
import pytest

from planet_tf import config, user_modules


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A user's module in a folder of its own, with a configurable encoder."""
    folder = tmp_path / "my modules"
    folder.mkdir()
    (folder / "my_encoders.py").write_text("def patches(size=8): ...\n")
    monkeypatch.syspath_prepend(str(folder))
    import my_encoders

    gin.external_configurable(my_encoders.patches, "patches", module="my_encoders")
    yield folder
    gin.config._REGISTRY.pop("my_encoders.patches")
    del sys.modules["my_encoders"]


def script(monkeypatch, file=None, spec=None):
    """Stands for the running script."""
    main = types.ModuleType("__main__")
    main.__spec__ = spec and types.SimpleNamespace(name=spec)
    if file:
        main.__file__ = str(file)
    monkeypatch.setitem(sys.modules, "__main__", main)
    return main


@pytest.mark.parametrize(
    ("file", "spec", "name"),
    [("/x/y.py", None, "y"), ("/x/y.py", "x.y", "x.y"), (None, None, None)],
)
def test_running_script_has_a_name(monkeypatch, file, spec, name):
    script(monkeypatch, file, spec)
    assert user_modules.main_module() == name


def test_config_that_imports_the_script_finds_it_running(monkeypatch, tmp_path):
    main = script(monkeypatch, "/x/my_script.py")
    user_modules.name_main_module("import other\nmy_script.x = 1\n")
    assert "my_script" not in sys.modules
    (tmp_path / "my.gin").write_text("import my_script\n")
    monkeypatch.setitem(sys.modules, "other", None)  # restores what the next line adds
    try:
        config.parse([str(tmp_path / "my.gin")])
        assert sys.modules["my_script"] is main
    finally:
        sys.modules.pop("my_script", None)


@pytest.mark.parametrize("text", ["patches.size = 3\n", "WorldModel.encoder = @patches\n"])
def test_missing_import_is_found(mine, text):
    line = "import my_encoders"
    assert user_modules.missing_imports(text) == [line]
    assert user_modules.missing_imports(f"{line}\n{text}") == []
    assert user_modules.missing_imports(f"# {text}") == []


def test_own_and_unknown_names_need_no_import(mine):
    text = "train.seed = 3\nWorldModel.encoder = @nobody\nCEM.horizon = @gin.macro()\n"
    config.parse([])  # imports the package
    assert user_modules.missing_imports(text) == []


def test_interactive_session_is_left_out(monkeypatch):
    script(monkeypatch)

    def typed_in(size=1): ...

    typed_in.__module__ = "__main__"
    gin.external_configurable(typed_in, "typed_in", module="__main__")
    try:
        assert user_modules.missing_imports("typed_in.size = 3\n") == []
        script(monkeypatch, "/x/y.py")
        assert user_modules.missing_imports("typed_in.size = 3\n") == ["import y"]
    finally:
        gin.config._REGISTRY.pop("__main__.typed_in")


def test_folders_are_those_that_pythonpath_needs(mine, monkeypatch):
    assert user_modules.folders(["json", "numpy.linalg", "sys"]) == []
    assert user_modules.folders(["my_encoders", "my_encoders"]) == [str(mine)]
    monkeypatch.chdir(mine)
    assert user_modules.folders(["my_encoders"]) == ["."]


def test_folder_of_the_script_and_of_a_package(monkeypatch, tmp_path):
    script(monkeypatch, tmp_path / "a" / "my_script.py")
    assert user_modules.folders(["my_script"]) == [str(tmp_path / "a")]
    module = types.ModuleType("pack.part.mine")
    module.__file__ = str(tmp_path / "b" / "pack" / "part" / "mine.py")
    monkeypatch.setitem(sys.modules, "pack.part.mine", module)
    assert user_modules.folders(["pack.part.mine"]) == [str(tmp_path / "b")]


def test_sources_are_files_and_whole_packages(mine, monkeypatch, tmp_path):
    assert user_modules.sources(["json", "my_encoders"]) == [str(mine / "my_encoders.py")]
    for name, file in (("pack", "__init__.py"), ("pack.part", "part/__init__.py")):
        module = types.ModuleType(name)
        module.__file__ = str(tmp_path / "b" / "pack" / file)
        monkeypatch.setitem(sys.modules, name, module)
        assert user_modules.sources([name]) == [str(tmp_path / "b" / "pack")]
        assert user_modules.folders([name]) == [str(tmp_path / "b")]


def test_modules_that_a_run_needs():
    text = "import a.b\ntrain.task = 'own:make'\n# import c\n"
    tasks = ["own:make", "gym:Pendulum-v1", "dot_goal", "gym:my_envs:Arm-v0"]
    assert user_modules.needed(text, tasks) == ["own", "my_envs", "a.b"]
