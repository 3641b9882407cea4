"""The sales of one day, as sales.csv has them."""

import csv
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal

from msgspec import convert

CSV = Path(__file__).with_name("sales.csv")

Notify = Literal["soon", "first", "live", "later"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sale:
    """One thing sold. It travels to the worker as JSON and arrives there as a Sale again."""

    id: str
    sold_at: datetime
    seller: str
    seller_email: str
    item: str
    price: Decimal
    buyer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the file: a sale, and when its seller wants to hear of it."""

    sale: Sale
    notify: Notify


def read_sales(path: Path = CSV) -> list[Row]:
    """All lines of the file, in their order."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Row(sale=convert(line, Sale, strict=False), notify=convert(line["notify"], Notify))
            for line in csv.DictReader(file)
        ]


def sales_of(day: date) -> list[Sale]:
    """The sales of a day; a real shop would ask its database."""
    return [row.sale for row in read_sales() if row.sale.sold_at.date() == day]
