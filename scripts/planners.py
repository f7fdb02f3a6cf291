"""The same as `planet-tf planners`."""

import sys

from planet_tf.cli import main

sys.exit(main(["planners", *sys.argv[1:]]))
