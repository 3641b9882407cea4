"""An app whose worker meets a mistake of ours, in the method of the store that MISTAKE in the environment names."""

from __future__ import annotations

import os
from typing import Any

from aiotq import App
from aiotq.store.redis import RedisStore
from tests.process.tasks import Tasks

app = App()
Tasks(app)
NAME = os.environ["MISTAKE"]


def wrong(*_args: Any, **_options: Any) -> Any:
    """What none of ours should do."""
    raise ZeroDivisionError(f"a mistake of ours in {NAME}")


setattr(RedisStore, NAME, wrong)
