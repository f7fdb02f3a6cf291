"""The same as `planet-tf doctor`."""

import sys

from planet_tf.cli import main

sys.exit(main(["doctor", *sys.argv[1:]]))
