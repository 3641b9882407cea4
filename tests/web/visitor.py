"""A browser without a window: keeps cookies, finds the form token on a page, posts forms."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

import httpx

PAGE = {"Accept": "text/html"}
FORM = {"Content-Type": "application/x-www-form-urlencoded", **PAGE}
TOKEN = re.compile(r'name="csrf" value="([^"]+)"')


def visitor(asgi: Any, *, at: str = "http://127.0.0.1:8383", **more: Any) -> httpx.AsyncClient:
    """A client of that ASGI app."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url=at, headers=PAGE, **more)


async def post(client: httpx.AsyncClient, path: str, pairs: Any, *, page: str = "/jobs", **headers: str) -> Any:
    """Load a page, and send a form from it."""
    shown = await client.get(page)
    found = TOKEN.search(shown.text)
    given = list(pairs.items()) if isinstance(pairs, dict) else list(pairs)
    if found and not any(name == "csrf" for name, _ in given):
        given.append(("csrf", found[1]))
    return await client.post(path, content=urlencode(given), headers={**FORM, **headers})
