"""How often a worker's process looks for cyclic garbage.

Python looks after every 700 new objects, and now and then at everything, modules included: a tenth of a busy worker's
time, and pauses of some 40 ms. Jobs leave no cycles of ours behind, so looking less often costs a little memory.
"""

from __future__ import annotations

import gc

_DEFAULT = gc.get_threshold()
OBJECTS = 10_000  # new ones, between two looks


def settle() -> None:
    """Once all is loaded: never look at it again, and at the rest less often. Leaves alone what the user has set."""
    if gc.isenabled() and gc.get_threshold() == _DEFAULT:
        gc.collect()
        gc.freeze()
        gc.set_threshold(OBJECTS, *_DEFAULT[1:])
