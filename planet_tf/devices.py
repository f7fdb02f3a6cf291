"""The choice between CPU and GPU."""

import tensorflow as tf

from planet_tf import config

DEVICES = ("auto", "cpu", "gpu")


def choose(device: str = "auto") -> None:
    """Has TensorFlow use a GPU or none; before its first operation.

    A GPU's memory is taken as it is needed, which leaves some to the renderer.

    Args:
      device: 'cpu', 'gpu', or 'auto' for a GPU where there is one.

    Raises:
      ConfigError: if TensorFlow finds no GPU and one is asked for, or there is no such choice.
      RuntimeError: if it is too late to change it.
    """
    if device not in DEVICES:
        raise config.ConfigError(f"device must be one of {', '.join(DEVICES)}, got {device!r}")
    gpus = tf.config.list_physical_devices("GPU")
    if device == "gpu" and not gpus:
        raise config.ConfigError(
            "device 'gpu', but TensorFlow finds no GPU: see that nvidia-smi lists one, that "
            "CUDA_VISIBLE_DEVICES does not hide it, and that planet_tf[gpu] is installed; or take "
            "device 'auto'"
        )
    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
        return
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
