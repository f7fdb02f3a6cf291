"""Errors: what a command needs of them, and what becomes one."""

import importlib
import pickle

import pytest
import tensorflow as tf

from planet_tf import checks, errors


@pytest.mark.parametrize(
    ("kind", "base", "status"),
    [
        (errors.ConfigError, ValueError, 2),
        (errors.RenderingError, RuntimeError, 2),
        (errors.EnvironmentFailure, RuntimeError, 1),
        (errors.NotFiniteError, FloatingPointError, 1),
        (errors.StorageError, errors.PlanetError, 1),
    ],
)
def test_error_has_message_hint_setting_and_status(kind, base, status):
    error = kind("wrong", "do this", "CEM.elites")
    assert isinstance(error, base) and isinstance(error, errors.PlanetError)
    assert (error.message, error.hint, error.setting) == ("wrong", "do this", "CEM.elites")
    assert error.exit_status == status
    assert "wrong" in str(error) and "do this" in str(error)
    assert str(kind("wrong")) == "wrong"


def test_interrupted_keeps_its_status():
    assert errors.Interrupted("stopped", 143).exit_status == 143


@pytest.mark.parametrize("kind", [ValueError, TypeError, RuntimeError, OSError])
def test_errors_of_custom_code_become_config_errors(kind):
    with pytest.raises(errors.ConfigError) as caught, errors.as_config_errors():
        raise kind("bad size\n  In call to configurable 'x'")
    assert caught.value.message == "bad size" and isinstance(caught.value.__cause__, kind)


def test_error_without_a_text_is_named():
    with pytest.raises(errors.ConfigError, match="^TypeError$"), errors.as_config_errors():
        raise TypeError


@pytest.mark.parametrize(
    "error",
    [
        errors.StorageError("full"),
        FloatingPointError("NaN"),
        KeyError("x"),
        tf.errors.ResourceExhaustedError(None, None, "OOM"),
    ],
)
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as caught, errors.as_config_errors():
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    "error",
    [
        errors.ConfigError("wrong", "right it", "CEM.elites"),
        errors.Interrupted("stopped by SIGINT", 130),
    ],
)
def test_errors_are_sent_between_processes_whole(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error)
    assert vars(again) == vars(error)


def test_where_custom_code_raised_an_error_is_named(tmp_path, monkeypatch):
    (tmp_path / "slider.py").write_text(
        "def make():\n    return inner()\n\n\ndef inner():\n    return None + 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import slider

    with pytest.raises(errors.ConfigError) as error, errors.as_config_errors():
        checks.checked(slider.make, "make")()  # as gin calls it
    assert error.value.message.endswith(f" ({tmp_path / 'slider.py'}, line 6, in inner)")
    generated = tmp_path / "__autograph_generated_file1.py"
    generated.write_text("def inner():\n    return None + 1\n")
    monkeypatch.setattr(slider, "inner", importlib.import_module(generated.stem).inner)
    with pytest.raises(errors.ConfigError) as error, errors.as_config_errors():
        checks.checked(slider.make, "make")()
    assert error.value.message.endswith(f" ({tmp_path / 'slider.py'}, line 2, in make)")
    with pytest.raises(errors.ConfigError) as error, errors.as_config_errors():
        int("a")  # raised by no custom code
    assert error.value.message == "invalid literal for int() with base 10: 'a'"
