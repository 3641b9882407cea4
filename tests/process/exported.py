"""The app of tasks.py, with metrics of its own."""

from __future__ import annotations

from aiotq import App
from aiotq.contrib.prometheus import Prometheus
from tests.process.tasks import Tasks

app = App(observers=[Prometheus()])
tasks = Tasks(app)
