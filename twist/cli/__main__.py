"""``python -m twist.cli`` is the command ``twist``, as ``python -m twist`` is."""

import sys

from twist.cli import main

sys.exit(main())
