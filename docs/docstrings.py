"""How our docstrings are read for the reference: a griffe extension."""

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Read `Example:` with a doctest below it as code; griffe knows only `Examples:`."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename the section of one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:(?=\n +>>>)", "Examples:", obj.docstring.value, flags=re.MULTILINE)
