import logging

import jsonschema
import pytest
from airbyte_cdk.models import Status, SyncMode
from airbyte_cdk.test.entrypoint_wrapper import discover
from conftest import STREAMS, final_state, rows

from source_faker import SourceFaker, records

FIXED = {"count": 30, "seed": 42, "records_per_slice": 10, "always_updated": False}


def test_spec_is_a_schema_with_defaults_that_fit():
    schema = SourceFaker().spec(logging.getLogger()).connectionSpecification
    jsonschema.Draft7Validator.check_schema(schema)
    defaults = {name: prop["default"] for name, prop in schema["properties"].items()}
    jsonschema.validate(defaults, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"count": 0}, schema)


def test_check_succeeds_on_an_empty_config():
    assert SourceFaker().check(logging.getLogger(), {}).status == Status.SUCCEEDED


def test_discover_offers_incremental_streams_with_keys():
    catalog = discover(SourceFaker(), {}).catalog.catalog
    assert tuple(stream.name for stream in catalog.streams) == STREAMS
    for stream in catalog.streams:
        assert stream.supported_sync_modes == [SyncMode.full_refresh, SyncMode.incremental]
        assert stream.source_defined_primary_key == [["id"]]
        assert stream.default_cursor_field == ["updated_at"]


def test_records_fit_their_schemas_and_leave_no_field_out(read):
    output = read(FIXED)
    for stream in SourceFaker().streams(FIXED):
        schema = stream.get_json_schema()
        fields = set()
        for row in rows(output, stream.name):
            jsonschema.validate(row, schema)
            fields |= row.keys()
        assert fields == schema["properties"].keys()


def test_count_and_slices(read):
    output = read(FIXED)
    catalog = len(records.PRODUCTS)
    assert [row["id"] for row in rows(output, "users")] == list(range(1, 31))
    assert [row["id"] for row in rows(output, "products")] == list(range(1, catalog + 1))
    states = [
        (m.state.stream.stream_descriptor.name, m.state.stream.stream_state.last_id)
        for m in output.state_messages
    ]
    assert states == [
        *(("users", n) for n in (10, 20, 30)),
        *(("products", n) for n in (10, 20, catalog)),
        *(("purchases", n) for n in (10, 20, 30)),
    ]


def test_a_small_count_limits_the_products_too(read):
    assert len(rows(read({**FIXED, "count": 3}), "products")) == 3


def test_one_seed_one_data_set(read):
    first, second = read(FIXED), read(FIXED)
    other = read({**FIXED, "seed": 43})
    for stream in STREAMS:
        assert rows(first, stream) == rows(second, stream)
    for stream in ("users", "purchases"):
        assert rows(first, stream) != rows(other, stream)


def test_without_a_seed_each_sync_differs(read):
    config = {"count": 20}
    assert rows(read(config), "users") != rows(read(config), "users")


def test_a_sync_with_the_final_state_emits_nothing_new(read):
    state = final_state(read(FIXED))
    again = read(FIXED, state)
    assert again.records == []
    assert [s.stream for s in final_state(again)] == [s.stream for s in state]


def test_a_sync_resumes_in_the_middle_with_the_same_records(read):
    whole = rows(read(FIXED), "users")
    interrupted = next(
        m.state for m in read(FIXED).state_messages if m.state.stream.stream_state.last_id == 20
    )
    rest = rows(read(FIXED, [interrupted], streams=["users"]), "users")
    assert rest == whole[20:]


def test_a_larger_count_adds_only_the_new_records(read):
    state = final_state(read(FIXED))
    added = read({**FIXED, "count": 35}, state)
    assert [row["id"] for row in rows(added, "users")] == [31, 32, 33, 34, 35]


def test_a_sync_without_a_seed_goes_on_with_that_of_its_state(read):
    config = {"count": 20, "always_updated": False}
    first = read(config)
    state = final_state(first)
    assert read(config, state).records == []
    seed = state[0].stream.stream_state.seed
    added = rows(read({**config, "count": 21}, state), "users")
    assert added[0]["name"] == records.user(seed, 21)["name"]


def test_another_seed_starts_over(read):
    state = final_state(read(FIXED))
    assert len(rows(read({**FIXED, "seed": 43}, state), "users")) == 30


def test_always_updated_emits_everything_again_with_newer_cursors(read):
    config = {**FIXED, "always_updated": True}
    first = read(config)
    second = read(config, final_state(first))
    before, after = rows(first, "users"), rows(second, "users")
    assert [row["id"] for row in after] == [row["id"] for row in before]
    assert min(row["updated_at"] for row in after) > max(row["updated_at"] for row in before)
    assert _without_cursor(before) == _without_cursor(after)


def _without_cursor(records_):
    return [{k: v for k, v in row.items() if k != "updated_at"} for row in records_]
