"""`python -m benchmarks run | compare | gate`: figures of aiotq and its peers, side by side in one run."""

from __future__ import annotations

import sys

from benchmarks.cli import main

if __name__ == "__main__":
    sys.exit(main())
