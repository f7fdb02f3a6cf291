"""Counts the arithmetic of updates and decisions from the layers' shapes."""

import tensorflow as tf

from planet_tf.models import WorldModel

# The dense layers of the latent models' parts; each model has some of them.
_CELL_PARTS = {
    "transition": ("transition_hidden", "gates", "candidate"),
    "prior": ("prior_hidden", "prior_out"),
    "posterior": ("posterior_context", "posterior_embed", "posterior_out"),
}


def layer_flops(layer: tf.keras.layers.Layer, size: int = 1) -> tuple[int, int]:
    """Counts the multiplications and additions of one layer's forward pass on one example.

    Args:
      layer: Dense, Conv2D or Conv2DTranspose, built.
      size: side of the square input image.

    Returns:
      The operations (2 per multiply-add, without biases and activations), and the side of the
      output image.

    Raises:
      TypeError: for another kind of layer.
    """
    if isinstance(layer, tf.keras.layers.Dense):
        return 2 * layer.kernel.shape.num_elements(), 1
    if isinstance(layer, tf.keras.layers.Conv2DTranspose):
        # Every input pixel meets the whole kernel.
        out = (size - 1) * layer.strides[0] + layer.kernel_size[0]
        return 2 * layer.kernel.shape.num_elements() * size**2, out
    if isinstance(layer, tf.keras.layers.Conv2D):
        out = (size - layer.kernel_size[0]) // layer.strides[0] + 1
        return 2 * layer.kernel.shape.num_elements() * out**2, out
    raise TypeError(f"cannot count the operations of {layer!r}")


def model_flops(model: WorldModel) -> dict[str, int]:
    """Counts the operations of each part of a world model, forward, for one frame.

    Raises:
      TypeError: for a custom network.
    """
    counts = {
        "encoder": _stack_flops(_layers(model.encoder), model.input_shape[0]),
        "decoder": _stack_flops(_layers(model.decoder)),
        "reward": _stack_flops(_layers(model.reward)),
    }
    for part in ("continuation", "diagnosis"):
        if (head := getattr(model, part)) is not None:
            counts[part] = _stack_flops(_layers(head))
    for part, names in _CELL_PARTS.items():
        found = [getattr(model.cell, name) for name in names if hasattr(model.cell, name)]
        counts[part] = _stack_flops(found)
    return counts


def update_flops(model: WorldModel, frames: int) -> int:
    """Counts the operations of an update: forward, and twice that backward.

    The gradient with respect to the images, which nobody needs, is not counted.
    """
    first = 0
    if model.reads == "image":
        first, _ = layer_flops(_layers(model.encoder)[0], model.image_size)
    return frames * (3 * sum(model_flops(model).values()) - first)


def decision_flops(model: WorldModel, imagined_steps: int) -> int:
    """Counts the operations of a decision: filter one image, then imagine, such as I x J x H."""
    parts = model_flops(model)
    filtering = parts["encoder"] + parts["transition"] + parts["posterior"]
    imagined = parts["transition"] + parts["prior"] + parts["reward"]
    imagined += parts.get("continuation", 0)
    return filtering + imagined_steps * imagined


def _layers(network) -> list[tf.keras.layers.Layer]:
    """Returns the layers of one of `models.networks`, the first one first."""
    found: list = []
    for name in ("convs", "dense", "deconvs", "hidden", "out"):
        part = getattr(network, name, None)
        found += part if isinstance(part, (list, tuple)) else [part] if part is not None else []
    if not found:
        raise TypeError(f"cannot count the operations of {network!r}")
    return found


def _stack_flops(layers: list, size: int = 1) -> int:
    total = 0
    for layer in layers:
        flops, size = layer_flops(layer, size)
        total += flops
    return total
