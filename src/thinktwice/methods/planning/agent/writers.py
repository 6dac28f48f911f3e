"""Whoever answers the agent: a server, a model in this process, or rules."""

from thinktwice.engines.writers import Author, LocalWriter, Writer

__all__ = ["Author", "LocalWriter", "Writer"]
