"""What the shop sells, and to whom: data that looks like data, drawn from dice."""

import json
import random
from typing import Final

CUSTOMERS: Final = ("ada", "bo", "chen", "dilara", "emeka", "freya", "goran", "hana")
SKUS: Final = ("espresso-cups", "linen-shirt", "desk-lamp", "trail-shoes", "notebook-a5", "rain-jacket")
CITIES: Final = {
    "eu": ("Lisbon", "Tallinn", "Graz"),
    "us": ("Austin", "Boise", "Tampa"),
    "ap": ("Osaka", "Pune", "Perth"),
}
CONFIG_KEY: Final = "config/storefront"
CART_KEYS: Final = tuple(f"cart/{customer}" for customer in CUSTOMERS)
SOLD_KEYS: Final = tuple(f"sold/{sku}" for sku in SKUS)


def an_order(region: str, number: str, dice: random.Random) -> tuple[str, str]:
    """Key and value of a new order."""
    order = {
        "order": number,
        "customer": dice.choice(CUSTOMERS),
        "sku": dice.choice(SKUS),
        "quantity": dice.randint(1, 4),
        "total_cents": dice.randint(990, 24_990),
        "ship_to": dice.choice(CITIES[region]),
    }
    return f"order/{region}/{number}", compact(order)


def with_item(item_id: str, dice: random.Random, cart: str | None) -> str:
    """The cart with one item more."""
    items = json.loads(cart) if cart else []
    return compact([*items, {"id": item_id, "sku": dice.choice(SKUS), "quantity": dice.randint(1, 3)}])


def with_sale(quantity: int, number: str | None) -> str:
    """The number of pieces sold, after one sale more."""
    return str(int(number or 0) + quantity)


def next_config(region: str, dice: random.Random, config: str | None) -> str:
    """The next version of the document that every storefront shows."""
    version = config_version(config) + 1
    return compact(
        {
            "version": version,
            "edited_in": region,
            "banner": dice.choice(("Spring sale", "Free returns", "New: trail shoes", "Two for one")),
            "free_shipping_from_cents": dice.randrange(2_000, 8_000, 500),
        }
    )


def config_version(config: str | None) -> int:
    """0: nothing was published yet."""
    version: int = json.loads(config)["version"] if config else 0
    return version


def compact(data: object) -> str:
    """JSON as it is stored."""
    return json.dumps(data, separators=(",", ":"))
