import json
from pathlib import Path

import pytest
from airbyte_cdk.models import DestinationSyncMode, Type
from airbyte_cdk.utils import AirbyteTracedException
from conftest import record, rows, state, stream

from destination_jsonl.writer import path_of

OVERWRITE = DestinationSyncMode.overwrite


def test_one_file_a_stream(sync):
    sync.run(
        [stream("users"), stream("cars"), stream("empty")],
        [record("users", {"id": 1}), record("cars", {"id": 9}), record("users", {"id": 2})],
    )
    assert rows(sync.directory / "users.jsonl") == [{"id": 1}, {"id": 2}]
    assert rows(sync.directory / "cars.jsonl") == [{"id": 9}]
    assert rows(sync.directory / "empty.jsonl") == []


def test_a_line_holds_the_record_and_where_it_comes_from(sync):
    data = {"name": "Zoë\n", "nested": {"a": [1, None]}}
    sync.run([stream("users")], [record("users", data), record("users", data)])
    first, second = (
        json.loads(line) for line in (sync.directory / "users.jsonl").read_text().splitlines()
    )
    assert first["_airbyte_data"] == data
    assert first["_airbyte_extracted_at"] == 1_700_000_000_000
    assert first["_airbyte_raw_id"] != second["_airbyte_raw_id"]


def test_append_keeps_what_is_there_and_overwrite_does_not(sync):
    for number in (1, 2):
        sync.run(
            [stream("log"), stream("snapshot", OVERWRITE)],
            [record("log", {"n": number}), record("snapshot", {"n": number})],
        )
    assert rows(sync.directory / "log.jsonl") == [{"n": 1}, {"n": 2}]
    assert rows(sync.directory / "snapshot.jsonl") == [{"n": 2}]


def test_an_overwrite_without_records_leaves_an_empty_file(sync):
    sync.run([stream("snapshot")], [record("snapshot", {"n": 1})])
    sync.run([stream("snapshot", OVERWRITE)], [])
    assert (sync.directory / "snapshot.jsonl").read_bytes() == b""


def test_a_state_comes_out_only_when_its_records_are_on_disk(sync):
    messages = iter(
        [
            record("users", {"id": 1}),
            state("users", 1),
            record("users", {"id": 2}),
            state("users", 2),
            record("users", {"id": 3}),
        ]
    )
    for seen, message in enumerate(sync.start([stream("users")], messages), start=1):
        assert message.type == Type.STATE
        assert message.state.stream.stream_state.cursor == seen
        assert rows(sync.directory / "users.jsonl") == [{"id": n} for n in range(1, seen + 1)]
    assert rows(sync.directory / "users.jsonl")[-1] == {"id": 3}


def test_no_state_when_the_disk_refuses(sync, monkeypatch):
    def refuse(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    out = []
    with pytest.raises(OSError, match="No space"):
        out.extend(sync.start([stream("users")], [record("users", {"id": 1}), state("users", 1)]))
    assert out == []


def test_append_drops_the_line_a_crash_left_unfinished(sync):
    sync.run([stream("users")], [record("users", {"id": 1})])
    path = sync.directory / "users.jsonl"
    whole = path.read_bytes()
    for torn in (b'{"_airbyte', b"x" * 200_000):
        path.write_bytes(whole + torn)
        sync.run([stream("users")], [])
        assert path.read_bytes() == whole
    path.write_bytes(b"x" * 200_000)
    sync.run([stream("users")], [])
    assert path.read_bytes() == b""


def test_namespaces_keep_streams_of_one_name_apart(sync):
    sync.run(
        [stream("users", namespace="east"), stream("users", namespace="west"), stream("users")],
        [
            record("users", {"at": "east"}, namespace="east"),
            record("users", {"at": "west"}, namespace="west"),
            record("users", {"at": "none"}),
        ],
    )
    assert rows(sync.directory / "east" / "users.jsonl") == [{"at": "east"}]
    assert rows(sync.directory / "west" / "users.jsonl") == [{"at": "west"}]
    assert rows(sync.directory / "users.jsonl") == [{"at": "none"}]


@pytest.mark.parametrize(
    ("namespace", "name", "expected"),
    [
        (None, "users", "users.jsonl"),
        (None, "my users", "my users.jsonl"),
        (None, "a/b", "a%2Fb.jsonl"),
        (None, "a%2Fb", "a%252Fb.jsonl"),
        (None, "../../etc/passwd", "..%2F..%2Fetc%2Fpasswd.jsonl"),
        ("..", "users", "%2E%2E/users.jsonl"),
        (".", "..", "%2E/%2E%2E.jsonl"),
        ("/etc", "users", "%2Fetc/users.jsonl"),
    ],
)
def test_no_name_leads_out_of_the_directory(namespace, name, expected):
    assert path_of(Path("/out"), namespace, name) == Path("/out") / expected


def test_an_unsupported_mode_is_refused_before_any_file_is_emptied(sync):
    sync.run([stream("users")], [record("users", {"id": 1})])
    with pytest.raises(AirbyteTracedException, match="append_dedup"):
        sync.run([stream("users", OVERWRITE), stream("b", DestinationSyncMode.append_dedup)], [])
    assert rows(sync.directory / "users.jsonl") == [{"id": 1}]


def test_a_record_of_an_unknown_stream_is_an_error(sync):
    with pytest.raises(ValueError, match="stream cars"):
        sync.run([stream("users")], [record("cars", {"id": 1})])
