"""Procedurally generated worlds: endless data in the file formats of the real datasets, nothing to download."""
