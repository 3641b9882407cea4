"""`python -m aiotq`."""

from __future__ import annotations

import sys

from aiotq.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
