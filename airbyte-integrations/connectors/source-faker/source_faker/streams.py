from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, MutableMapping
from datetime import datetime
from typing import Any

from airbyte_cdk.models import SyncMode
from airbyte_cdk.sources.streams import CheckpointMixin, Stream

from . import records


class FakerStream(Stream, CheckpointMixin, ABC):
    """Records 1 to `count`, cut into slices, with a state after each slice.

    State holds the last id emitted and the seed it was made with. A later sync goes on from
    there, unless the seed has changed since or every record counts as updated (`synced_at`).
    """

    primary_key = "id"
    cursor_field = "updated_at"

    def __init__(
        self,
        *,
        seed: int,
        seed_is_fixed: bool,
        count: int,
        records_per_slice: int,
        synced_at: datetime | None,
    ) -> None:
        self._seed = seed
        self._seed_is_fixed = seed_is_fixed
        self._count = count
        self._records_per_slice = records_per_slice
        self._synced_at = synced_at
        self._state: MutableMapping[str, Any] = {}

    @abstractmethod
    def generate(self, seed: int, record_id: int) -> dict[str, Any]:
        """The record of this id, with `created_at` but without `updated_at`."""

    @property
    def total(self) -> int:
        return self._count

    @property
    def state(self) -> MutableMapping[str, Any]:
        return self._state

    @state.setter
    def state(self, value: MutableMapping[str, Any]) -> None:
        self._state = dict(value)
        if not self._seed_is_fixed:
            self._seed = value.get("seed", self._seed)

    def record(self, record_id: int) -> dict[str, Any]:
        record = self.generate(self._seed, record_id)
        updated_at = self._synced_at.isoformat() if self._synced_at else record["created_at"]
        return {**record, "updated_at": updated_at}

    def stream_slices(
        self,
        *,
        sync_mode: SyncMode,
        cursor_field: list[str] | None = None,
        stream_state: Mapping[str, Any] | None = None,
    ) -> Iterable[Mapping[str, Any]]:
        for first in range(self._first_id(), self.total + 1, self._records_per_slice):
            yield {"first": first, "last": min(first + self._records_per_slice - 1, self.total)}

    def read_records(
        self,
        sync_mode: SyncMode,
        cursor_field: list[str] | None = None,
        stream_slice: Mapping[str, Any] | None = None,
        stream_state: Mapping[str, Any] | None = None,
    ) -> Iterable[Mapping[str, Any]]:
        if not stream_slice:
            return
        newest = self._state.get(self.cursor_field, "")
        for record_id in range(stream_slice["first"], stream_slice["last"] + 1):
            record = self.record(record_id)
            newest = max(newest, record[self.cursor_field])
            yield record
        self._state = {
            self.cursor_field: newest,
            "last_id": stream_slice["last"],
            "seed": self._seed,
        }

    def _first_id(self) -> int:
        if self._synced_at or self._state.get("seed") != self._seed:
            return 1
        return self._state["last_id"] + 1


class Users(FakerStream):
    def generate(self, seed: int, record_id: int) -> dict[str, Any]:
        return records.user(seed, record_id)


class Products(FakerStream):
    @property
    def total(self) -> int:
        return min(self._count, len(records.PRODUCTS))

    def generate(self, seed: int, record_id: int) -> dict[str, Any]:
        return records.product(record_id)


class Purchases(FakerStream):
    def generate(self, seed: int, record_id: int) -> dict[str, Any]:
        return records.purchase(seed, record_id)
