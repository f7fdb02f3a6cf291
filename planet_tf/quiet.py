"""Silences the libraries' notes and warnings; what goes wrong is still raised."""

import contextlib
import os


def libraries() -> None:
    """Silences TensorFlow, absl and gym; to be called before any of them is imported.

    TF_CPP_MIN_LOG_LEVEL, where it is set, is left as it is: 0 shows TensorFlow's notes.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with contextlib.suppress(ImportError):  # scripts/doctor.py says what is missing
        from absl import logging
        from gym_notices import notices as gym_notices

        logging.set_verbosity(logging.ERROR)
        gym_notices.notices.clear()  # TF-Agents imports gym 0.23, which would say that it is old
