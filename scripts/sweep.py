"""The same as `planet-tf sweep`."""

import sys

from planet_tf.cli import main

sys.exit(main(["sweep", *sys.argv[1:]]))
