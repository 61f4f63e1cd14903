import os
from pathlib import Path
from types import TracebackType
from urllib.parse import quote
from uuid import uuid4

import orjson
from airbyte_cdk.models import (
    AirbyteRecordMessage,
    ConfiguredAirbyteStream,
    DestinationSyncMode,
)

LINE_END = b"\n"
_BLOCK = 64 * 1024


def path_of(directory: Path, namespace: str | None, name: str) -> Path:
    """The stream's file. Names are quoted, so none can lead out of the directory."""
    file_name = f"{_file_name(name)}.jsonl"
    return directory / _file_name(namespace) / file_name if namespace else directory / file_name


class StreamFile:
    """The JSONL file of one stream, open for a sync."""

    def __init__(self, directory: Path, configured: ConfiguredAirbyteStream) -> None:
        self._path = path_of(directory, configured.stream.namespace, configured.stream.name)
        self._mode = configured.destination_sync_mode
        self._unsaved = False

    def __enter__(self) -> "StreamFile":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a+b")
        if self._mode == DestinationSyncMode.overwrite:
            self._file.truncate(0)
        else:
            self._cut_torn_line()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def write(self, record: AirbyteRecordMessage) -> None:
        row = {
            "_airbyte_raw_id": str(uuid4()),
            "_airbyte_extracted_at": record.emitted_at,
            "_airbyte_data": record.data,
        }
        self._file.write(orjson.dumps(row) + LINE_END)
        self._unsaved = True

    def flush(self) -> None:
        """Return once every record written so far would survive a power cut."""
        if self._unsaved:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._unsaved = False

    def _cut_torn_line(self) -> None:
        """Drop a last line that a crash left unfinished: no state was ever passed on for it."""
        end = self._file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _BLOCK)
            self._file.seek(start)
            last_line_end = self._file.read(end - start).rfind(LINE_END)
            if last_line_end >= 0:
                end = start + last_line_end + 1
                break
            end = start
        self._file.truncate(end)


def _file_name(name: str) -> str:
    # quote() leaves dots alone, and "." and ".." would be directories.
    quoted = quote(name, safe=" ")
    return quoted if quoted.strip(".") else quoted.replace(".", "%2E")
