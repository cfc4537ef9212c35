"""The commands that operators know from before, from a checkout."""
