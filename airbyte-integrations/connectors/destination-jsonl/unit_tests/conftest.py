import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from airbyte_cdk.models import (
    AirbyteMessage,
    AirbyteRecordMessage,
    AirbyteStateMessage,
    AirbyteStateType,
    AirbyteStream,
    AirbyteStreamState,
    ConfiguredAirbyteCatalog,
    ConfiguredAirbyteStream,
    DestinationSyncMode,
    StreamDescriptor,
    SyncMode,
    Type,
)
from airbyte_cdk.models.airbyte_protocol import AirbyteStateBlob

from destination_jsonl import DestinationJsonl


def record(stream: str, data: dict[str, Any], namespace: str | None = None) -> AirbyteMessage:
    return AirbyteMessage(
        type=Type.RECORD,
        record=AirbyteRecordMessage(
            stream=stream, data=data, emitted_at=1_700_000_000_000, namespace=namespace
        ),
    )


def state(stream: str, cursor: int) -> AirbyteMessage:
    return AirbyteMessage(
        type=Type.STATE,
        state=AirbyteStateMessage(
            type=AirbyteStateType.STREAM,
            stream=AirbyteStreamState(
                stream_descriptor=StreamDescriptor(name=stream),
                stream_state=AirbyteStateBlob(cursor=cursor),
            ),
        ),
    )


def stream(
    name: str, mode: DestinationSyncMode = DestinationSyncMode.append, namespace: str | None = None
) -> ConfiguredAirbyteStream:
    return ConfiguredAirbyteStream(
        stream=AirbyteStream(
            name=name,
            json_schema={},
            supported_sync_modes=[SyncMode.full_refresh],
            namespace=namespace,
        ),
        sync_mode=SyncMode.full_refresh,
        destination_sync_mode=mode,
    )


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line)["_airbyte_data"] for line in path.read_text().splitlines()]


class Sync:
    """Syncs into one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def start(
        self, streams: list[ConfiguredAirbyteStream], messages: Iterable[AirbyteMessage]
    ) -> Iterable[AirbyteMessage]:
        return DestinationJsonl().write(
            {"destination_path": str(self.directory)},
            ConfiguredAirbyteCatalog(streams=streams),
            messages,
        )

    def run(self, streams, messages) -> list[AirbyteMessage]:
        return list(self.start(streams, messages))


@pytest.fixture
def sync(tmp_path: Path) -> Sync:
    return Sync(tmp_path / "out")
