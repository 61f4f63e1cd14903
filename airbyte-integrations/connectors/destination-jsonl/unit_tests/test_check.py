import logging

import jsonschema
import pytest
from airbyte_cdk.models import Status

from destination_jsonl import DestinationJsonl


def check(path):
    return DestinationJsonl().check(logging.getLogger(), {"destination_path": str(path)})


def test_spec_wants_an_absolute_path():
    spec = DestinationJsonl().spec(logging.getLogger())
    schema = spec.connectionSpecification
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate({"destination_path": "/local/json"}, schema)
    for config in ({}, {"destination_path": "relative"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(config, schema)
    assert [mode.value for mode in spec.supported_destination_sync_modes] == ["append", "overwrite"]


def test_check_makes_the_directory_and_leaves_nothing_in_it(tmp_path):
    directory = tmp_path / "a" / "b"
    assert check(directory).status == Status.SUCCEEDED
    assert list(directory.iterdir()) == []


def test_check_fails_where_a_file_is_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    result = check(tmp_path / "file" / "below")
    assert result.status == Status.FAILED
    assert result.message == f"cannot write to {tmp_path}/file/below: Not a directory"


def test_check_fails_when_the_disk_is_full(tmp_path, monkeypatch):
    def no_space(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", no_space)
    assert check(tmp_path).message == f"cannot write to {tmp_path}: No space left on device"
