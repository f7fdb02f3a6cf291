"""Operations counted by hand."""

import pytest
import tensorflow as tf

from planet_tf.machine import flops
from planet_tf.models import WorldModel


def test_operations_of_single_layers():
    dense = tf.keras.layers.Dense(5)
    dense.build([None, 3])
    assert flops.layer_flops(dense) == (30, 1)
    conv = tf.keras.layers.Conv2D(8, 4, 2)
    conv.build([None, 10, 10, 3])
    assert flops.layer_flops(conv, 10) == (2 * 4 * 4 * 3 * 8 * 4 * 4, 4)
    deconv = tf.keras.layers.Conv2DTranspose(8, 5, 2)
    deconv.build([None, 3, 3, 6])
    assert flops.layer_flops(deconv, 3) == (2 * 5 * 5 * 6 * 8 * 3 * 3, 9)
    with pytest.raises(TypeError):
        flops.layer_flops(tf.keras.layers.Flatten())


def test_operations_at_paper_size():
    model = WorldModel(action_size=6)
    multiply_adds = {
        "encoder": 31**2 * 48 * 32 + 14**2 * 512 * 64 + 6**2 * 1024 * 128 + 2**2 * 2048 * 256,
        "transition": 36 * 200 + 400 * 600,
        "prior": 200 * 200 + 200 * 60,
        "posterior": 1224 * 200 + 200 * 60,
        "decoder": 230 * 1024
        + 25 * 1024 * 128
        + 5**2 * 25 * 128 * 64
        + 13**2 * 36 * 64 * 32
        + 30**2 * 36 * 32 * 3,
        "reward": 230 * 300 + 2 * 300 * 300 + 300,
    }
    expected = {name: 2 * count for name, count in multiply_adds.items()}
    assert flops.model_flops(model) == expected
    first = 2 * 31**2 * 48 * 32
    forward = sum(expected.values())
    assert flops.update_flops(model, 2500) == 2500 * (3 * forward - first)
    decision = flops.decision_flops(model, 10 * 1000 * 12)
    step = expected["transition"] + expected["prior"] + expected["reward"]
    filtering = expected["encoder"] + expected["transition"] + expected["posterior"]
    assert decision == 120_000 * step + filtering


@pytest.mark.parametrize("latent", ["rssm", "ssm", "rnn"])
def test_every_kernel_of_every_model_is_counted(latent):
    model = WorldModel(
        action_size=2, image_shape=None, state_size=5, latent=latent, terminates=True
    )
    kernels = [weight for weight in model.trainable_variables if "kernel" in weight.name]
    expected = sum(2 * kernel.shape.num_elements() for kernel in kernels)
    assert sum(flops.model_flops(model).values()) == expected
    assert flops.update_flops(model, 1) == 3 * expected
    continuation = flops.model_flops(model)["continuation"]
    assert continuation > 0
    without = WorldModel(action_size=2, image_shape=None, state_size=5, latent=latent)
    costs = [flops.decision_flops(each, 10) for each in (model, without)]
    assert costs[0] - costs[1] == 10 * continuation


def test_the_diagnosis_head_is_counted_in_updates_alone():
    both = WorldModel(action_size=2, state_size=5)
    alone = WorldModel(action_size=2)
    head = flops.model_flops(both)["diagnosis"]
    assert head > 0 and "diagnosis" not in flops.model_flops(alone)
    assert flops.update_flops(both, 1) - flops.update_flops(alone, 1) == 3 * head
    assert flops.decision_flops(both, 10) == flops.decision_flops(alone, 10)


def test_custom_network_cannot_be_counted():
    model = WorldModel(action_size=2, encoder=tf.keras.layers.Flatten)
    with pytest.raises(TypeError):
        flops.model_flops(model)
