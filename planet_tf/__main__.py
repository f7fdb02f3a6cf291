"""`python -m planet_tf` is the same as the command `planet-tf`."""

import sys

from planet_tf.cli import main

sys.exit(main())
