import json

import pytest
import requests

from components import ColumnsExtractor


def extract(body):
    response = requests.Response()
    response.status_code = 200
    response._content = json.dumps(body).encode()
    extractor = ColumnsExtractor(table="hourly", config={}, parameters={})
    return list(extractor.extract_records(response))


def test_columns_become_rows():
    body = {"elevation": 38, "hourly": {"time": ["a", "b"], "rain": [0, 1.5], "wind": [None, 3]}}
    assert extract(body) == [
        {"time": "a", "rain": 0, "wind": None},
        {"time": "b", "rain": 1.5, "wind": 3},
    ]


@pytest.mark.parametrize("body", [{}, {"hourly": {}}, {"hourly": {"time": [], "rain": []}}])
def test_no_rows(body):
    assert extract(body) == []


def test_columns_of_unequal_length_are_an_error():
    with pytest.raises(ValueError, match="shorter"):
        extract({"hourly": {"time": ["a", "b"], "rain": [0]}})
