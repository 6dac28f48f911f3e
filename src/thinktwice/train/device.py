"""Where and how exactly a training runs: device, precision, memory, and signals between steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn

from thinktwice.errors import ConfigError
from thinktwice.train.settings import Training


def choose_device() -> torch.device:
    """Return the GPU when there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def choose_precision(settings: Training, device: torch.device) -> str:
    """Resolve "auto" and refuse what the device can't do.

    Raises:
        ConfigError: fp16 without a GPU.
    """
    if settings.precision == "auto":
        return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    if settings.precision == "fp16" and device.type != "cuda":
        raise ConfigError("training.precision=fp16 needs a GPU; use fp32 or bf16 on a CPU.")
    return settings.precision


def enable_checkpointing(model: nn.Module) -> None:
    """Recompute activations in the backward pass."""
    enable: Any = getattr(model, "activation_checkpointing_enable", None)  # Transformers from 5.2x on
    if enable is None:
        enable = model.gradient_checkpointing_enable
    enable()
    if not all(p.requires_grad for p in model.parameters()):
        cast(Any, model).enable_input_require_grads()  # a frozen embedding would cut the graph before the first block


@contextmanager
def finish_step_on_signal() -> Iterator[list[BaseException]]:
    """Collect Ctrl-C and SIGTERM instead of dying in the middle of a step; a second one is immediate."""
    caught: list[BaseException] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def remember(number: int, frame: object) -> None:
        error = KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
        if caught:
            raise error
        caught.append(error)

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
