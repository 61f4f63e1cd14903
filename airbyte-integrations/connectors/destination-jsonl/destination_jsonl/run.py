import sys

from .destination import DestinationJsonl


def run() -> None:
    DestinationJsonl().run(sys.argv[1:])
