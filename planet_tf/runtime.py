"""Process-wide choices: what libraries print, and the device that TensorFlow uses."""

import contextlib
import os
import sys

from planet_tf import errors, stack

DEVICES = ("auto", "cpu", "gpu")


def silence_libraries() -> None:
    """Silences notes and warnings of TensorFlow, absl and gym; call it before they are imported.

    TF_CPP_MIN_LOG_LEVEL is kept if it is set: 0 shows TensorFlow's notes, and what it prints last
    if the process crashes while it is imported.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] != "0":
        stack.import_quietly()
    with contextlib.suppress(ImportError):  # the doctor reports what is missing
        from absl import logging
        from gym_notices import notices as gym_notices

        logging.set_verbosity(logging.ERROR)
        gym_notices.notices.clear()  # TF-Agents imports gym 0.23, which warns that it is old


def choose_device(device: str = "auto") -> None:
    """Makes TensorFlow use a GPU or none; call it before TensorFlow's first operation.

    GPU memory is allocated as it is needed, which leaves some to the renderer. Devices that
    TensorFlow has already initialised stay as they are: 'cpu' then goes on with a GPU that is in
    use, and a note on stderr says so.

    Args:
      device: 'cpu', 'gpu', or 'auto' for a GPU if there is one.

    Raises:
      ConfigError: if 'gpu' is asked for and TensorFlow finds none.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if device == "gpu" and not gpus:
        raise errors.ConfigError(
            "device 'gpu', but TensorFlow finds no GPU",
            "check that nvidia-smi lists one, that CUDA_VISIBLE_DEVICES does not hide it and that "
            "the extra is installed (pip install -e '.[gpu]'), or use device 'auto'",
            "train.device",
        )
    try:
        if device == "cpu":
            tf.config.set_visible_devices([], "GPU")
        else:
            for gpu in gpus:
                tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError:  # its devices are initialised
        used = "gpu" if has_gpu() else "cpu"
        if device not in ("auto", used):
            note = f"note: device {device!r} comes too late: TensorFlow already uses the {used}"
            print(note, file=sys.stderr)


def has_gpu() -> bool:
    """Whether TensorFlow uses a GPU."""
    import tensorflow as tf

    return bool(tf.config.list_logical_devices("GPU"))


def compiles(jit_compile: bool | None) -> bool:
    """Whether to compile with XLA; None: on a GPU."""
    return has_gpu() if jit_compile is None else jit_compile
