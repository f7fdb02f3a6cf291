"""The same as `planet-tf evaluate`."""

import sys

from planet_tf.cli import main

sys.exit(main(["evaluate", *sys.argv[1:]]))
