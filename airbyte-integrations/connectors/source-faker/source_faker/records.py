"""Records as functions of a seed and an id alone.

Any record can be made again without those before it, so a sync can resume at any id, and a
larger `count` adds records without changing the smaller ids.
"""

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mimesis import Address, Locale, Person

PRODUCTS = json.loads(
    Path(__file__).with_name("record_data").joinpath("products.json").read_text(encoding="utf-8")
)

SHARE_BOUGHT = 0.7
SHARE_RETURNED = 0.15

_OPENED_AT = datetime(2021, 1, 1, tzinfo=UTC)
_YEAR = timedelta(days=365)
_person = Person(Locale.EN)
_address = Address(Locale.EN)


def user(seed: int, user_id: int) -> dict[str, Any]:
    rng = _random(seed, "users", user_id)
    key = rng.getrandbits(64)
    _person.reseed(key)
    _address.reseed(key)
    name = _person.full_name()
    return {
        "id": user_id,
        "created_at": _user_created_at(seed, user_id).isoformat(),
        "name": name,
        "title": _person.title(),
        "age": rng.randint(18, 90),
        # A reserved domain: nobody can ever receive this mail.
        "email": f"{name.lower().replace(' ', '.')}.{user_id}@example.com",
        "telephone": _person.phone_number(),
        "gender": _person.gender(),
        "language": _person.language(),
        "academic_degree": _person.academic_degree(),
        "nationality": _person.nationality(),
        "occupation": _person.occupation(),
        "height": str(_person.height()),
        "blood_type": _person.blood_type(),
        "weight": _person.weight(),
        "address": {
            "street_number": _address.street_number(),
            "street_name": _address.street_name(),
            "city": _address.city(),
            "state": _address.state(),
            "province": _address.province(),
            "postal_code": _address.postal_code(),
            "country_code": _address.country_code(),
        },
    }


def product(product_id: int) -> dict[str, Any]:
    created_at = _OPENED_AT - timedelta(days=product_id)
    return {**PRODUCTS[product_id - 1], "id": product_id, "created_at": created_at.isoformat()}


def purchase(seed: int, purchase_id: int) -> dict[str, Any]:
    """A cart, most often bought, now and then returned.

    User and product ids are never above the purchase's own: both records exist whatever the count.
    """
    rng = _random(seed, "purchases", purchase_id)
    user_id = rng.randint(1, purchase_id)
    product_id = rng.randint(1, min(purchase_id, len(PRODUCTS)))
    added_at = _user_created_at(seed, user_id) + _up_to(rng, _YEAR)
    purchased_at = returned_at = None
    if rng.random() < SHARE_BOUGHT:
        purchased_at = added_at + _up_to(rng, timedelta(days=2))
        if rng.random() < SHARE_RETURNED:
            returned_at = purchased_at + _up_to(rng, timedelta(days=30))
    return {
        "id": purchase_id,
        "user_id": user_id,
        "product_id": product_id,
        "created_at": added_at.isoformat(),
        "added_to_cart_at": added_at.isoformat(),
        "purchased_at": purchased_at.isoformat() if purchased_at else None,
        "returned_at": returned_at.isoformat() if returned_at else None,
    }


def _user_created_at(seed: int, user_id: int) -> datetime:
    return _OPENED_AT + _up_to(_random(seed, "sign-ups", user_id), 3 * _YEAR)


def _random(seed: int, stream: str, record_id: int) -> random.Random:
    # Text is hashed by the generator, so neighbouring ids get unrelated numbers.
    return random.Random(f"{seed}/{stream}/{record_id}")


def _up_to(rng: random.Random, longest: timedelta) -> timedelta:
    return timedelta(seconds=rng.randrange(int(longest.total_seconds())))
