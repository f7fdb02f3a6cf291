"""What is installed, compared with what planet_tf needs."""

import types
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from planet_tf.machine import installed


@pytest.fixture
def packages(monkeypatch):
    """Stands for what is installed, and planet_tf's requirements: dicts by name, to be changed."""
    versions = {"one": "2.15.1", "two": "1.0", "part": "12.2"}
    requires = {
        "planet_tf": ["one~=2.15.1", 'one[cuda]~=2.15.1; extra == "gpu"', 'two; extra == "plot"'],
        "one": ["two", 'part==12.2; extra == "cuda"', 'none; extra == "other"'],
    }
    about = metadata.metadata("planet_tf")
    del about["Requires-Python"], about["Provides-Extra"]
    about["Requires-Python"] = ">=3.10,<4"
    for extra in ("gpu", "plot"):
        about["Provides-Extra"] = extra

    def version(name):
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    stand_in = types.SimpleNamespace(
        metadata=lambda _: about,
        requires=requires.get,
        version=version,
        PackageNotFoundError=metadata.PackageNotFoundError,
    )
    monkeypatch.setattr(installed, "metadata", stand_in)
    monkeypatch.setattr(installed.stack, "WITHOUT_DEPENDENCIES", ())
    return types.SimpleNamespace(versions=versions, requires=requires, about=about)


def findings():
    return {what: (level, text, hint) for level, what, text, hint in installed.installed()}


def test_packages_are_compared_with_the_pins(packages):
    found = findings()
    assert {level for level, _, _ in found.values()} == {"ok"}
    assert "one 2.15.1" in found["packages"][1]
    packages.versions["one"] = "2.16.0"
    level, text, hint = findings()["packages"]
    assert (level, hint) == ("bad", installed.INSTALL)
    assert "one 2.16.0" in text and "~=2.15.1" in text
    del packages.versions["one"]
    level, text, hint = findings()["packages"]
    assert (level, hint) == ("bad", installed.INSTALL) and "one" in text


def test_packages_that_pip_installs_apart_are_compared_too(packages, monkeypatch):
    apart = ('three==1.0; python_version >= "3.0"', 'four==1.0; python_version < "3.0"')
    monkeypatch.setattr(installed.stack, "WITHOUT_DEPENDENCIES", apart)
    level, text, _ = findings()["packages"]
    assert level == "bad" and "three is missing" in text
    packages.versions["three"] = "1.0"
    assert "three 1.0" in findings()["packages"][1] and "four" not in findings()["packages"][1]


def test_incomplete_extra_is_a_note(packages):
    packages.versions["part"] = "11"
    found = findings()
    level, text, hint = found["extra gpu"]
    assert level == "note" and "part 11" in text and ".[gpu]" in hint
    assert found["extra plot"][0] == found["packages"][0] == "ok"
    packages.requires["one"].append('more; extra == "cuda"')
    assert "1 more" in findings()["extra gpu"][1]
    first, second = installed.problems(Requirement("one[cuda]"))
    assert "part" in first and "more" in second


def test_python_is_compared_with_what_is_needed(packages):
    del packages.about["Requires-Python"]
    packages.about["Requires-Python"] = "<3"
    level, text, _ = findings()["python"]
    assert level == "bad" and "<3" in text


def test_missing_metadata_is_bad(packages, monkeypatch):
    def missing(_):
        raise metadata.PackageNotFoundError("planet_tf")

    monkeypatch.setattr(installed.metadata, "metadata", missing)
    assert [(found.level, found.hint) for found in installed.installed()] == [
        ("bad", installed.INSTALL)
    ]


def test_this_installation_is_complete():
    found = findings()
    assert found["packages"][0] == found["python"][0] == "ok", found
    for package in (
        "tensorflow 2.",
        "tensorflow-probability 0.2",
        "tf-agents 0.19",
        "dm_control 1.",
    ):
        assert package in found["packages"][1]
