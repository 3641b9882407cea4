"""aiotq with its worker, and the caller, on uvloop."""

from __future__ import annotations

import importlib.util
import subprocess

from benchmarks.peers.aiotq import Aiotq
from benchmarks.peers.base import PYTHON


class OnUvloop(Aiotq):
    """The worker's option --uvloop."""

    workers = [[*Aiotq.workers[0], "--uvloop"]]
    setup = "worker with --uvloop"

    def skip(self) -> str:
        if importlib.util.find_spec("uvloop") is None:
            return "uvloop is not installed here (make bench installs it)"
        shown = subprocess.run([PYTHON, "-m", "aiotq", "--help"], capture_output=True, text=True, check=False).stdout
        return "" if "--uvloop" in shown else "this aiotq's worker has no option --uvloop"


peer = OnUvloop()
