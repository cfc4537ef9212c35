"""Mutants that no test can find, since they change nothing that could be told: by module, name and reason."""

EQUIVALENT: dict[str, dict[str, str]] = {}
