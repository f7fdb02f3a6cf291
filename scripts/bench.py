"""The same as `planet-tf bench`."""

import sys

from planet_tf.cli import main

sys.exit(main(["bench", *sys.argv[1:]]))
