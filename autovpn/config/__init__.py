"""The configuration: found, read, checked and turned into the core's values."""
