"""A nano critic and its word problems; and a tokenizer that spells any text, for the plain wording."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from thinktwice.answer import load_engine
from thinktwice.methods.evolve.rows import Attempt
from thinktwice.nano import resolve
from thinktwice.render import Render
from thinktwice.tasks import load_task
from thinktwice.types import Task

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def engine():
    return load_engine(Path(resolve("nano-critic")), device="cpu", batch_size=64)


@pytest.fixture(scope="session")
def render(engine) -> Render:
    return Render(engine.tokenizer)


@pytest.fixture(scope="session")
def task() -> Task:
    return load_task(
        "arith", operations=[1, 4], irrelevant=[0, 2], levels=[2, 3], train=60, per_level=10, seed=7_000_000
    )


@pytest.fixture(scope="session")
def spelling() -> Render:
    """Byte by byte, with an end token."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=["<eos>"], initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator([], trainer)
    return Render(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", pad_token="<eos>"))


@pytest.fixture
def answered(task):
    """Make an attempt at a problem out of lines, encoded one by one as steps are."""

    def make(problem, text, render, sample=0, stop="done") -> Attempt:
        ids = tuple(token for line in text.splitlines(keepends=True) for token in render.encode(line))
        return Attempt(problem.id, sample, ids, text, task.score(problem, text).answer, stop)

    return make


@pytest.fixture
def wrong(task):
    """Return a problem's solution with a mistake in its second line, and that line's number."""

    def make(problem) -> str | None:
        lines = (problem.solution or "").splitlines(keepends=True)
        errors = task.oracle.plausible_errors(problem, lines[0]) if len(lines) > 2 else ()
        return "".join([lines[0], errors[0], *lines[2:]]) if errors else None

    return make
