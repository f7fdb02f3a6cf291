"""The device that TensorFlow uses. The GPU is pretended: what TensorFlow is told counts."""

import pytest
import tensorflow as tf

from planet_tf import errors, runtime


@pytest.fixture
def told(monkeypatch):
    """Lets TensorFlow find a GPU; returns what it is told: [(setting, value)]."""
    calls = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["a GPU"])
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda *given: calls.append(given))
    experimental = tf.config.experimental
    monkeypatch.setattr(experimental, "set_memory_growth", lambda *given: calls.append(given))
    return calls


@pytest.fixture
def initialised(told, monkeypatch):
    """Makes TensorFlow refuse changes, as once it has initialised its devices; (in use): them."""

    def refuse(*_):
        raise RuntimeError("Physical devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_visible_devices", refuse)
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", refuse)
    return lambda used: monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: used)


@pytest.mark.parametrize(
    ("device", "expected"),
    [("cpu", ([], "GPU")), ("auto", ("a GPU", True)), ("gpu", ("a GPU", True))],
)
def test_the_device_is_chosen(told, device, expected):
    runtime.choose_device(device)
    assert told == [expected]


@pytest.mark.parametrize(
    ("device", "used", "note"),
    [
        ("cpu", ["a GPU"], "note: device 'cpu' comes too late: TensorFlow already uses the gpu\n"),
        ("gpu", [], "note: device 'gpu' comes too late: TensorFlow already uses the cpu\n"),
        ("cpu", [], ""),
        ("gpu", ["a GPU"], ""),
        ("auto", ["a GPU"], ""),
        ("auto", [], ""),
    ],
)
def test_devices_in_use_stay_as_they_are(initialised, capsys, device, used, note):
    initialised(used)
    runtime.choose_device(device)
    assert capsys.readouterr().err == note


def test_a_missing_gpu_is_named(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    with pytest.raises(errors.ConfigError, match="finds no GPU") as error:
        runtime.choose_device("gpu")
    assert error.value.setting == "train.device"
