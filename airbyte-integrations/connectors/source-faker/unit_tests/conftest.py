from collections.abc import Callable, Mapping
from typing import Any

import pytest
from airbyte_cdk.models import AirbyteStateMessage, SyncMode
from airbyte_cdk.test.catalog_builder import CatalogBuilder
from airbyte_cdk.test.entrypoint_wrapper import EntrypointOutput
from airbyte_cdk.test.entrypoint_wrapper import read as read_source

from source_faker import SourceFaker

STREAMS = ("users", "products", "purchases")


@pytest.fixture
def read() -> Callable[..., EntrypointOutput]:
    """Run `read` as the platform does, through the entry point."""

    def run(config: Mapping[str, Any], state=None, streams=STREAMS) -> EntrypointOutput:
        catalog = CatalogBuilder()
        for name in streams:
            catalog = catalog.with_stream(name, SyncMode.incremental)
        output = read_source(SourceFaker(), config, catalog.build(), state)
        assert not output.errors
        return output

    return run


def rows(output: EntrypointOutput, stream: str) -> list[dict[str, Any]]:
    return [m.record.data for m in output.records if m.record.stream == stream]


def final_state(output: EntrypointOutput) -> list[AirbyteStateMessage]:
    """The last state message of each stream, as a platform would keep it."""
    by_stream = {m.state.stream.stream_descriptor.name: m.state for m in output.state_messages}
    return list(by_stream.values())
