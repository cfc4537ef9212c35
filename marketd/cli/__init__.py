"""The command line of marketd: one module a command, imported when it is called (see ``root``)."""

from marketd.cli.root import main

__all__ = ["main"]
