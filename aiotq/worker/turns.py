"""How soon a thread that wakes gets the interpreter's lock from one that does not let it go.

A task that computes in pure Python, or a loop that is busy with thousands of jobs, hands the lock on only once
`sys.getswitchinterval()` is over: 5 ms for each wait of the keeper that ends, and to promote takes two or three. So
around a due time, and only then, the interval is short. It is the whole process's: whoever asks for it is counted.
"""

from __future__ import annotations

import sys
import threading

SHORT_S = 0.000_2
HALF_S = 0.000_000_5  # what is set is cut to whole microseconds, and what is read may lie just below one

_lock = threading.Lock()
_asking: set[object] = set()
_usual_s = 0.0
_set_s = 0.0  # as it reads once it is set: rounded


class Turns:
    """One who may ask for quick turns."""

    def quick(self) -> None:
        """From now on."""
        global _usual_s, _set_s  # noqa: PLW0603  the interval is the process's as well
        with _lock:
            if not _asking:
                _usual_s = sys.getswitchinterval()
                if _usual_s > SHORT_S:
                    sys.setswitchinterval(SHORT_S)
                _set_s = sys.getswitchinterval()
            _asking.add(self)

    def usual(self) -> None:
        """Not any more. What somebody else has set meanwhile stays."""
        with _lock:
            if self in _asking:
                _asking.discard(self)
                if not _asking and sys.getswitchinterval() == _set_s:
                    sys.setswitchinterval(_usual_s + HALF_S)
