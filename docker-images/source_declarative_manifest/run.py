"""Runs the manifest.yaml beside this file, with the components.py beside it when there is one.

The CDK's own runner looks in the current directory and in the CDK's package instead; it serves here
where there is no manifest, as it takes one from the configuration (`__injected_declarative_manifest`).
"""

import logging
import sys
from pathlib import Path

from airbyte_cdk.cli.source_declarative_manifest import run as run_injected_manifest
from airbyte_cdk.entrypoint import AirbyteEntrypoint, launch
from airbyte_cdk.exception_handler import init_uncaught_exception_handler
from airbyte_cdk.sources.declarative.yaml_declarative_source import YamlDeclarativeSource

MANIFEST = Path(__file__).with_name("manifest.yaml")


def run() -> None:
    if not MANIFEST.exists():
        run_injected_manifest()
        return
    init_uncaught_exception_handler(logging.getLogger("airbyte"))
    arguments = sys.argv[1:]
    paths = AirbyteEntrypoint.parse_args(arguments)
    config, catalog, state = (getattr(paths, name, None) for name in ("config", "catalog", "state"))
    source = YamlDeclarativeSource(
        path_to_yaml=str(MANIFEST),
        config=YamlDeclarativeSource.read_config(config) if config else None,
        catalog=YamlDeclarativeSource.read_catalog(catalog) if catalog else None,
        state=YamlDeclarativeSource.read_state(state) if state else None,
        config_path=config,
    )
    launch(source, arguments)
