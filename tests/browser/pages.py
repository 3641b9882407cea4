"""The pages of the dashboard, and when one has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.browser.conftest import Shop, Visit

PAGES = {
    "overview": "/",
    "queues": "/queues",
    "queue": "/queues/newsletter",
    "jobs": "/jobs?status=succeeded&limit=25",
    "job": "/jobs/{running}",
    "failed": "/jobs/{failed}",
    "failures": "/failures",
    "dead": "/dead?limit=25",
    "workers": "/workers",
    "tasks": "/tasks",
    "server": "/server",
    "audit": "/audit",
    "message": "/jobs?limit=x",
}
WITHIN_MS = 15_000

# In pictures the machine is called as a shop would call it, and its server has the port that servers have.
RENAMED = """([host, root]) => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.replaceAll(host, "shop-1").replaceAll(root, "");
    walker.currentNode.textContent = text.replace(/localhost:\\d+/g, "localhost:6379")
      .replace(/(redis-cli -h \\S+ -p) \\d+/g, "$1 6379");
  }
}"""


def paths(system: Shop, failed: str) -> dict[str, str]:
    return {name: path.format(running=system.running[0], failed=failed) for name, path in PAGES.items()}


async def settled(visit: Visit) -> None:
    """Until the first events have come."""
    await visit.page.locator("#live-pulse .badge").wait_for(timeout=WITHIN_MS)
