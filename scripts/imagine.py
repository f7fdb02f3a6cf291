"""The same as `planet-tf imagine`."""

import sys

from planet_tf.cli import main

sys.exit(main(["imagine", *sys.argv[1:]]))
