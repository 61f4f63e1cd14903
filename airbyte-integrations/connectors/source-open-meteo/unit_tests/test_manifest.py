import logging
from pathlib import Path

import jsonschema
import pytest
from airbyte_cdk.models import FailureType, Status, SyncMode
from airbyte_cdk.sources.declarative.yaml_declarative_source import YamlDeclarativeSource
from airbyte_cdk.test.catalog_builder import CatalogBuilder
from airbyte_cdk.test.entrypoint_wrapper import EntrypointOutput, discover, read

MANIFEST = Path(__file__).parents[1] / "manifest.yaml"
CONFIG = {"latitude": 52.52, "longitude": -13.41, "past_days": 1}
FORECAST = "https://api.open-meteo.com/v1/forecast"
ASKED = {
    "latitude": ["52.52"],
    "longitude": ["-13.41"],
    "forecast_days": ["7"],
    "past_days": ["1"],
    "timezone": ["gmt"],
}
# The place of the grid point, which differs from the one asked for.
ANSWER = {"latitude": 52.5, "longitude": -13.5, "timezone": "GMT", "elevation": 38.0}
HOURLY = {
    "time": ["2026-11-23T00:00", "2026-11-23T01:00"],
    "temperature_2m": [3.1, 2.9],
    "relative_humidity_2m": [88, None],
    "precipitation": [0.0, 0.2],
    "wind_speed_10m": [11.2, 12.0],
    "weather_code": [3, 61],
}
DAILY = {
    "time": ["2026-11-23"],
    "temperature_2m_max": [6.4],
    "temperature_2m_min": [1.2],
    "precipitation_sum": [2.4],
    "wind_speed_10m_max": [21.0],
    "weather_code": [61],
}


def source(config=CONFIG) -> YamlDeclarativeSource:
    return YamlDeclarativeSource(path_to_yaml=str(MANIFEST), config=config)


def read_stream(name: str, failing: bool = False) -> EntrypointOutput:
    catalog = CatalogBuilder().with_stream(name, SyncMode.full_refresh).build()
    return read(source(), CONFIG, catalog, expecting_exception=failing)


def schema_of(stream: str):
    catalog = discover(source(), CONFIG).catalog.catalog
    return next(s.json_schema for s in catalog.streams if s.name == stream)


def test_spec_wants_a_place_on_earth():
    schema = source().spec(logging.getLogger()).connectionSpecification
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(CONFIG, schema)
    for change in ({"latitude": 91}, {"longitude": "13.41"}, {"forecast_days": 17}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**CONFIG, **change}, schema)


def test_discover():
    catalog = discover(source(), CONFIG).catalog.catalog
    assert {s.name: s.source_defined_primary_key for s in catalog.streams} == {
        "hourly": [["latitude"], ["longitude"], ["time"]],
        "daily": [["latitude"], ["longitude"], ["date"]],
    }


def test_hourly_rows_have_the_place_asked_for_and_times_with_a_zone(requests_mock):
    requests_mock.get(FORECAST, json={**ANSWER, "hourly": HOURLY})
    rows = [message.record.data for message in read_stream("hourly").records]
    assert rows[0] == {
        "latitude": 52.52,
        "longitude": -13.41,
        "time": "2026-11-23T00:00:00Z",
        "temperature_2m": 3.1,
        "relative_humidity_2m": 88,
        "precipitation": 0.0,
        "wind_speed_10m": 11.2,
        "weather_code": 3,
    }
    assert [row["time"] for row in rows] == ["2026-11-23T00:00:00Z", "2026-11-23T01:00:00Z"]
    assert requests_mock.last_request.qs == {**ASKED, "hourly": [_variables(HOURLY)]}
    schema = schema_of("hourly")
    assert rows[0].keys() == schema["properties"].keys()
    for row in rows:
        jsonschema.validate(row, schema)


def test_daily_rows_have_a_date(requests_mock):
    requests_mock.get(FORECAST, json={**ANSWER, "daily": DAILY})
    [row] = [message.record.data for message in read_stream("daily").records]
    expected = {name: values[0] for name, values in DAILY.items() if name != "time"}
    assert row == {**expected, "latitude": 52.52, "longitude": -13.41, "date": "2026-11-23"}
    assert requests_mock.last_request.qs == {**ASKED, "daily": [_variables(DAILY)]}
    schema = schema_of("daily")
    assert row.keys() == schema["properties"].keys()
    jsonschema.validate(row, schema)


def test_check_reads_a_forecast(requests_mock):
    requests_mock.get(FORECAST, json={**ANSWER, "daily": DAILY})
    assert source().check(logging.getLogger(), CONFIG).status == Status.SUCCEEDED


def test_check_passes_on_why_a_request_is_refused(requests_mock):
    refusal = {"error": True, "reason": "Parameter 'past_days' is out of allowed range"}
    requests_mock.get(FORECAST, status_code=400, json=refusal)
    result = source().check(logging.getLogger(), CONFIG)
    assert result.status == Status.FAILED
    assert "Open-Meteo refuses the request: Parameter 'past_days'" in result.message


def test_a_ragged_table_fails_the_sync(requests_mock):
    requests_mock.get(FORECAST, json={**ANSWER, "daily": {**DAILY, "weather_code": []}})
    output = read_stream("daily", failing=True)
    assert output.records == []
    assert FailureType.system_error in {m.trace.error.failure_type for m in output.errors}


def _variables(table) -> str:
    return ",".join(name for name in table if name != "time")
