import logging
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from airbyte_cdk.destinations import Destination
from airbyte_cdk.models import (
    AirbyteConnectionStatus,
    AirbyteMessage,
    ConfiguredAirbyteCatalog,
    DestinationSyncMode,
    FailureType,
    Status,
    Type,
)
from airbyte_cdk.utils import AirbyteTracedException

from .writer import StreamFile

SUPPORTED_MODES = {DestinationSyncMode.append, DestinationSyncMode.overwrite}


class DestinationJsonl(Destination):
    def check(self, logger: logging.Logger, config: Mapping[str, Any]) -> AirbyteConnectionStatus:
        """Write a file and take it away again: permissions alone don't tell of a full disk."""
        directory = Path(config["destination_path"])
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=directory, prefix=".check-") as probe:
                probe.write(b"{}\n")
                probe.flush()
        except OSError as error:
            return AirbyteConnectionStatus(
                status=Status.FAILED, message=f"cannot write to {directory}: {error.strerror}"
            )
        return AirbyteConnectionStatus(status=Status.SUCCEEDED)

    def write(
        self,
        config: Mapping[str, Any],
        configured_catalog: ConfiguredAirbyteCatalog,
        input_messages: Iterable[AirbyteMessage],
    ) -> Iterable[AirbyteMessage]:
        """Append records to their stream's file; pass on a state once all before it is on disk."""
        directory = Path(config["destination_path"])
        _refuse_unsupported_modes(configured_catalog)
        with ExitStack() as stack:
            files = {
                (configured.stream.namespace, configured.stream.name): stack.enter_context(
                    StreamFile(directory, configured)
                )
                for configured in configured_catalog.streams
            }
            for message in input_messages:
                if message.type == Type.RECORD:
                    key = (message.record.namespace, message.record.stream)
                    if key not in files:
                        raise ValueError(f"record of stream {key[1]}, which the catalog lacks")
                    files[key].write(message.record)
                elif message.type == Type.STATE:
                    for file in files.values():
                        file.flush()
                    yield message


def _refuse_unsupported_modes(catalog: ConfiguredAirbyteCatalog) -> None:
    """Before any file is touched: an overwrite empties its file at once."""
    for configured in catalog.streams:
        if configured.destination_sync_mode not in SUPPORTED_MODES:
            raise AirbyteTracedException(
                message=f"Stream {configured.stream.name} asks for sync mode "
                f"{configured.destination_sync_mode.value}; JSONL files can be appended to or "
                "overwritten.",
                failure_type=FailureType.config_error,
            )
