import logging
from pathlib import Path

import jsonschema
import pytest
from airbyte_cdk.models import FailureType, Status, SyncMode
from airbyte_cdk.sources.declarative.yaml_declarative_source import YamlDeclarativeSource
from airbyte_cdk.test.catalog_builder import CatalogBuilder
from airbyte_cdk.test.entrypoint_wrapper import EntrypointOutput, discover, read

MANIFEST = Path(__file__).parents[1] / "manifest.yaml"
CONFIG = {"pokemon_name": "pikachu"}
POKEMON = "https://pokeapi.co/api/v2/pokemon/pikachu"
PIKACHU = {
    "id": 25,
    "name": "pikachu",
    "base_experience": 112,
    "height": 4,
    "weight": 60,
    "types": [
        {"slot": 1, "type": {"name": "electric", "url": "https://pokeapi.co/api/v2/type/13/"}}
    ],
    "moves": [{"move": {"name": "mega-punch"}}],
    "sprites": {"front_default": "https://example.com/25.png"},
}
ENCOUNTERS = [
    {
        "location_area": {"name": name, "url": f"https://pokeapi.co/api/v2/location-area/{n}/"},
        "version_details": [{"max_chance": 10, "version": {"name": "red"}}],
    }
    for n, name in enumerate(["trophy-garden-area", "viridian-forest-area"], start=1)
]


def source(config=CONFIG) -> YamlDeclarativeSource:
    return YamlDeclarativeSource(path_to_yaml=str(MANIFEST), config=config)


def read_stream(name: str, failing: bool = False) -> EntrypointOutput:
    catalog = CatalogBuilder().with_stream(name, SyncMode.full_refresh).build()
    return read(source(), CONFIG, catalog, expecting_exception=failing)


def test_spec_requires_a_name_as_the_api_spells_it():
    schema = source().spec(logging.getLogger()).connectionSpecification
    jsonschema.Draft7Validator.check_schema(schema)
    for name in ("pikachu", "mr-mime", "25"):
        jsonschema.validate({"pokemon_name": name}, schema)
    for config in ({}, {"pokemon_name": "Pikachu"}, {"pokemon_name": "../berry/1"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(config, schema)


def test_discover():
    catalog = discover(source(), CONFIG).catalog.catalog
    assert {s.name: s.source_defined_primary_key for s in catalog.streams} == {
        "pokemon": [["id"]],
        "encounters": [["pokemon_name"], ["location_area_name"]],
    }
    for stream in catalog.streams:
        jsonschema.Draft7Validator.check_schema(stream.json_schema)


def test_check_reads_the_pokemon(requests_mock):
    requests_mock.get(POKEMON, json=PIKACHU)
    assert source().check(logging.getLogger(), CONFIG).status == Status.SUCCEEDED
    assert requests_mock.called


def test_check_says_that_a_name_is_unknown(requests_mock):
    requests_mock.get(POKEMON, status_code=404, text="Not Found")
    result = source().check(logging.getLogger(), CONFIG)
    assert result.status == Status.FAILED
    assert "PokeAPI knows no Pokémon named pikachu." in result.message


def test_pokemon_comes_without_its_longest_lists(requests_mock):
    requests_mock.get(POKEMON, json=PIKACHU)
    [message] = read_stream("pokemon").records
    kept = {k: v for k, v in PIKACHU.items() if k not in ("moves", "sprites")}
    assert message.record.data == kept
    schema = next(
        s.json_schema
        for s in discover(source(), CONFIG).catalog.catalog.streams
        if s.name == "pokemon"
    )
    jsonschema.validate(message.record.data, schema)
    assert kept.keys() <= schema["properties"].keys()


def test_encounters_carry_their_key(requests_mock):
    requests_mock.get(f"{POKEMON}/encounters", json=ENCOUNTERS)
    rows = [message.record.data for message in read_stream("encounters").records]
    assert rows == [
        {**e, "pokemon_name": "pikachu", "location_area_name": e["location_area"]["name"]}
        for e in ENCOUNTERS
    ]


def test_a_read_is_repeated_when_the_server_stumbles(requests_mock, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    requests_mock.get(POKEMON, [{"status_code": 503}, {"json": PIKACHU}])
    assert len(read_stream("pokemon").records) == 1
    assert requests_mock.call_count == 2


def test_an_unknown_name_fails_as_a_mistake_in_the_config(requests_mock):
    requests_mock.get(POKEMON, status_code=404, text="Not Found")
    output = read_stream("pokemon", failing=True)
    assert output.records == []
    assert FailureType.config_error in {m.trace.error.failure_type for m in output.errors}
