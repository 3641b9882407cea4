"""Writes sales.csv anew, always the same: `python -m examples.shop.make_sales`."""

import csv
import random
import unicodedata
from datetime import UTC, datetime, timedelta

from examples.shop.sales import CSV

SALES, SELLERS = 1_000, 240
OPENS = datetime(2027, 1, 15, 8, tzinfo=UTC)
FIRST_NAMES = (
    *("Ada", "Björn", "Chloé", "Dmitri", "Elif", "Fatou", "Grace", "Hiro", "Inês", "José"),
    *("Karin", "Łukasz", "Mira", "Noor", "Oskar", "Priya", "Rosa", "Søren", "Tariq", "Zoë"),
)
LAST_NAMES = (
    *("Adeyemi", "Bianchi", "Castillo", "Dubois", "Eriksson", "Fischer"),
    *("García", "Horváth", "Ivanova", "Jansen", "Kowalski", "Lindqvist"),
)
ITEMS = {
    "brass lamp": 40, "oak chair": 75, "wool rug": 120, "tea pot": 18, "film camera": 95, "record player": 140,
    "rain coat": 35, "chess set": 28, "desk fan": 22, "bread bin": 15, "wall clock": 48, "bike bell": 9,
    "garden gnome": 12, "atlas of 1912": 64, "accordion": 310, "pocket watch": 180, "typewriter": 85, "tin robot": 55,
}  # fmt: skip
WHEN = {"soon": 900, "first": 30, "live": 30, "later": 40}  # weights


def main() -> None:
    """Write the file."""
    chance = random.Random(2027)  # noqa: S311  made-up sales need no secrets
    sellers = [_seller(number, chance) for number in range(SELLERS)]
    with CSV.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "sold_at", "seller", "seller_email", "item", "price", "buyer", "notify"])
        for number in range(1, SALES + 1):
            item = chance.choice(list(ITEMS))
            price = f"{ITEMS[item] * chance.uniform(0.7, 1.4):.2f}"
            sold_at = (OPENS + timedelta(seconds=number * 42 + chance.randrange(40))).isoformat()
            buyer = f"{chance.choice(FIRST_NAMES)} {chance.choice(LAST_NAMES)}"
            [notify] = chance.choices(list(WHEN), weights=list(WHEN.values()))
            writer.writerow([f"S{number:04}", sold_at, *chance.choice(sellers), item, price, buyer, notify])


def _seller(number: int, chance: random.Random) -> tuple[str, str]:
    """A name and an address. One in eight is with a provider that greylists, one in eighty has closed its mailbox."""
    name = f"{chance.choice(FIRST_NAMES)} {chance.choice(LAST_NAMES)}"
    plain = unicodedata.normalize("NFKD", name.replace("Ł", "L").replace("ø", "o")).encode("ascii", "ignore").decode()
    domain = "gone.example" if number % 80 == 7 else "greylist.example" if number % 8 == 3 else "mail.example"
    return name, f"{plain.lower().replace(' ', '.')}.{number}@{domain}"


if __name__ == "__main__":
    main()
