"""A saved verifier's adapters on a model: nobody's turn is the base as it is."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel
from transformers.utils import logging

from thinktwice.decode.transplant import Role
from thinktwice.decode.transplant.saved import SavedVerifier


class Adapters:
    """Puts a role's adapter on the model, or none."""

    def __init__(self, model: PreTrainedModel, folder: Path, saved: SavedVerifier) -> None:
        """Load every adapter of a saved verifier over its base, and switch them off."""
        self.model: Any = model
        self.saved = saved
        with warnings.catch_warnings(), _silent():
            warnings.filterwarnings("ignore", ".*multiple adapters in the model.*")  # as many as there are roles
            for name in saved.adapters:
                self.model.load_adapter(str(folder / name), adapter_name=name)
        self.rest()

    def __call__(self, role: Role) -> None:
        """Switch to a role."""
        name = self.saved.adapter(role)
        if name is None:
            self.rest()
        else:
            self.model.enable_adapters()
            self.model.set_adapter(name)

    def rest(self) -> None:
        """Switch to the base."""
        self.model.disable_adapters()


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the loader from reporting the other role's adapter, which is not in this one's file, as missing."""
    before = logging.get_verbosity()
    logging.set_verbosity(40)  # what the standard library calls ERROR
    try:
        yield
    finally:
        logging.set_verbosity(before)
