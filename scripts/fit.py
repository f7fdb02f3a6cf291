"""The same as `planet-tf fit`."""

import sys

from planet_tf.cli import main

sys.exit(main(["fit", *sys.argv[1:]]))
