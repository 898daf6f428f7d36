"""``python -m twist`` is the command ``twist``."""

import sys

from twist.cli import main

sys.exit(main())
