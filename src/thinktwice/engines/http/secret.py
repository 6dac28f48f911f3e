"""The key. Law: it is read from the environment, and appears in no file, log, error or printed form."""

import os
from dataclasses import dataclass, field

from thinktwice.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Secret:
    """A key and the environment variable it came from."""

    variable: str
    _value: str = field(repr=False)

    @classmethod
    def read(cls, variable: str) -> "Secret":
        """Read the key from the environment; an unset variable is a key that is not known.

        Raises:
            ConfigError: what stands there cannot stand in a header.
        """
        value = os.environ.get(variable, "").strip()
        if not value.isascii() or (value and not value.isprintable()):
            raise ConfigError(
                f"the key in {variable} has a line break or a character that is not ASCII; export the bare key alone."
            )
        return cls(variable, value)

    @property
    def value(self) -> str:
        """The key itself, for the one place that sends it; a server that wants none gets a word that says so."""
        return self._value or "no-key"

    @property
    def known(self) -> bool:
        """Whether the variable is set."""
        return bool(self._value)

    def within(self, text: str) -> bool:
        """Say whether a text gives the key away; short ones (EMPTY, local) are words, not keys."""
        return len(self._value) >= 8 and self._value in text

    def hide(self, text: str) -> str:
        """Return the text with the key blotted out."""
        return text.replace(self._value, "[key]") if self.within(text) else text
