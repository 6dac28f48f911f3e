"""Engines: prompts in, completions out. Import from the modules; only `engines.local` imports torch."""
