"""File formats: one module each, shared by writers, readers, servers and tests."""

VERSION = 1
"""Version of every format in a run directory; a reader refuses any other."""
