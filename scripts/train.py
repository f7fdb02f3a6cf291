"""The same as `planet-tf train`."""

import sys

from planet_tf.cli import main

sys.exit(main(["train", *sys.argv[1:]]))
