import sys

from airbyte_cdk.entrypoint import launch

from .source import SourceFaker


def run() -> None:
    launch(SourceFaker(), sys.argv[1:])
