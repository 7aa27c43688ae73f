"""``python -m smartrt``."""

import sys

from .cli.main import main

sys.exit(main())
