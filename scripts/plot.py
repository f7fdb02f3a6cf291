"""The same as `planet-tf plot`."""

import sys

from planet_tf.cli import main

sys.exit(main(["plot", *sys.argv[1:]]))
