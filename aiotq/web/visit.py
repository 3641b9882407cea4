"""A request as the guard saw it: what it gives to the pages."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Visit:
    """One request, as the guard saw it."""

    base: str  # what every path of ours begins with: where the dashboard is mounted, as it stands in a URL
    who: str  # as it stands in the audit
    form_token: str
    secure: bool  # over TLS
    form: tuple[tuple[str, str], ...] = ()  # what was posted
    flash: str | None = None  # what the last act came to
    said: list[str] = field(default_factory=list[str])  # Set-Cookie headers of the answer

    def field(self, name: str) -> str | None:
        """The last value of a field that was posted."""
        return dict(self.form).get(name)
