"""The package's own names."""

import pytest

import planet_tf
from planet_tf import agents, config, environments, models, training

PLACES = {
    "PlanetAgent": agents.PlanetAgent,
    "WorldModel": models.WorldModel,
    "configure": config.configure,
    "load_environment": environments.load,
    "load_policy": training.load_policy,
    "train": training.train,
}


def test_import_is_light(python):
    code = "import sys, planet_tf; print({'tensorflow', 'numpy', 'gin'} & {*sys.modules})"
    done = python("-c", code)
    assert done.stdout == "set()\n", done.stderr


def test_names_resolve_and_are_all():
    assert sorted(PLACES) == sorted(planet_tf.__all__)
    for name, place in PLACES.items():
        assert getattr(planet_tf, name) is place


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        planet_tf.no_such_name  # noqa: B018
