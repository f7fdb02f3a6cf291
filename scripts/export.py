"""The same as `planet-tf export`."""

import sys

from planet_tf.cli import main

sys.exit(main(["export", *sys.argv[1:]]))
