"""Run the fault and process suites again and again, each time in another order, and say how often they were green.

    make faults TIMES=20        or        python tools/again.py --times 20 -n 2

It stops at the first run that fails, whose seed is the last one said. Exit code: that run's, else 0.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time

SUITES = ("tests/faults", "tests/process")


def main() -> int:
    """Run them as the command line says; all that it does not know goes to pytest."""
    parser = argparse.ArgumentParser(prog="tools/again.py", description="The fault suites again and again.")
    parser.add_argument("--times", type=int, default=20)
    given, of_pytest = parser.parse_known_args()
    began_s = time.monotonic()
    for number in range(1, given.times + 1):
        seed = random.randrange(1 << 32)  # noqa: S311  an order, no secret
        print(f"--- run {number} of {given.times}: --randomly-seed={seed}", flush=True)
        command = [sys.executable, "-m", "pytest", "-q", f"--randomly-seed={seed}", *SUITES, *of_pytest]
        code = subprocess.run(command, check=False).returncode
        if code:
            print(f"--- run {number} failed (--randomly-seed={seed}); {number - 1} in a row were green before it")
            return code
    print(f"--- {given.times} of {given.times} were green, in {(time.monotonic() - began_s) / 60:.0f} minutes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
