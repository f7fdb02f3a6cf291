"""The commands: one module each, with `add_flags`, `run` and an EXAMPLE for --help."""

from planet_tf.cli.main import main

__all__ = ["main"]
