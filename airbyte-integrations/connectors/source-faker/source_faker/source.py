import logging
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from airbyte_cdk.sources import AbstractSource
from airbyte_cdk.sources.streams import Stream

from .streams import FakerStream, Products, Purchases, Users

RANDOM_SEED = -1


class SourceFaker(AbstractSource):
    def check_connection(
        self, logger: logging.Logger, config: Mapping[str, Any]
    ) -> tuple[bool, Any | None]:
        """Make one record of each stream: nothing else can go wrong."""
        for stream in self.streams(config):
            stream.record(1)
        return True, None

    def streams(self, config: Mapping[str, Any]) -> list[Stream]:
        seed = config.get("seed", RANDOM_SEED)
        fixed = seed != RANDOM_SEED
        options = {
            "seed": seed if fixed else random.randrange(2**31),
            "seed_is_fixed": fixed,
            "count": config.get("count", 1000),
            "records_per_slice": config.get("records_per_slice", 1000),
            "synced_at": datetime.now(UTC) if config.get("always_updated", True) else None,
        }
        classes: list[type[FakerStream]] = [Users, Products, Purchases]
        return [stream(**options) for stream in classes]
