from collections.abc import Iterable, Mapping
from dataclasses import InitVar, dataclass
from typing import Any

import requests
from airbyte_cdk.sources.declarative.decoders import JsonDecoder
from airbyte_cdk.sources.declarative.extractors.record_extractor import RecordExtractor


@dataclass
class ColumnsExtractor(RecordExtractor):
    """Records out of a table that is sent column by column.

    Open-Meteo answers `{"hourly": {"time": [a, b], "rain": [1, 2]}}`, where a record is
    `{"time": a, "rain": 1}`. No declarative component turns lists side by side into rows.
    """

    table: str
    config: Mapping[str, Any]
    parameters: InitVar[Mapping[str, Any]]

    def extract_records(self, response: requests.Response) -> Iterable[Mapping[str, Any]]:
        for body in JsonDecoder(parameters={}).decode(response):
            columns = body.get(self.table, {})
            # Strict: with a value missing, every later one would go to a wrong time.
            for values in zip(*columns.values(), strict=True):
                yield dict(zip(columns, values, strict=True))
