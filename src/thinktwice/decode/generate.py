"""Our loop behind Hugging Face's `generate`, with its processors seeing the visible ids only.

model.generate(**batch, custom_generate=custom_generate, controls=[UndoRun(undo_id)], max_new_tokens=256)
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, PreTrainedTokenizerBase
from transformers.generation.stopping_criteria import (
    EosTokenCriteria,
    MaxLengthCriteria,
    StoppingCriteriaList,
    StopStringCriteria,
)

from thinktwice.decode.loop import Event, decode, eos_ids_of
from thinktwice.decode.rows import LogitsRule
from thinktwice.decode.stops import to_text_of
from thinktwice.errors import ConfigError
from thinktwice.types import Control, RowView, Sampling


class Processors:
    """Hugging Face logits processors as a rule. Law: they see what `generate` would show them, deleted tokens left out.

    Rows are left-padded to the width that the prompts had, since some processors count from there.
    """

    def __init__(self, processors: LogitsProcessorList, width: int, pad_id: int) -> None:
        self._processors, self._width, self._pad_id = processors, width, pad_id

    def __call__(self, rows: Sequence[RowView], logits_BV: Tensor) -> Tensor:
        """Process rows of equal length together."""
        padded = [[self._pad_id] * (self._width - row.prompt_length) + list(row.token_ids) for row in rows]
        groups: dict[int, list[int]] = {}
        for index, ids in enumerate(padded):
            groups.setdefault(len(ids), []).append(index)
        for members in groups.values():
            ids_RT: Any = torch.tensor([padded[index] for index in members], device=logits_BV.device)
            scores_RV: Any = logits_BV[members]
            logits_BV[members] = self._processors(ids_RT, scores_RV)
        return logits_BV


def custom_generate(
    model: PreTrainedModel,
    input_ids: Tensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    tokenizer: PreTrainedTokenizerBase | None = None,
    controls: Sequence[Control] = (),
    rules: Sequence[LogitsRule] = (),
    listener: Callable[[Event], None] | None = None,
    **prepared: Any,
) -> Tensor:
    """Decode for `model.generate(custom_generate=...)`; return prompts and what survives of the replies, padded right.

    Args:
        model: Given by `generate`, like the next four.
        input_ids: Prompts, padded on the left.
        logits_processor: Warpers included, so temperature and top-p are theirs.
        stopping_criteria: Length, end tokens and stop strings.
        generation_config: Its `max_length` counts every sampled token, retracted ones included.
        tokenizer: Needed for `stop_strings`.
        controls: What edits the context.
        rules: What changes the logits, after the processors.
        listener: Told of every event; a streamer cannot be, it has no way to take a token back.
        prepared: What else `generate` made ready; the attention mask is used, the cache is not (ours can be edited).

    Raises:
        ConfigError: for beams, dict output, or a stopping criterion that cannot be tested on the visible text.
    """
    if generation_config.num_beams not in (None, 1) or generation_config.return_dict_in_generate:
        raise ConfigError("custom_generate draws one sequence a row: use num_beams=1, return_dict_in_generate=False.")
    for criterion in stopping_criteria:
        if not isinstance(criterion, EosTokenCriteria | MaxLengthCriteria | StopStringCriteria):
            raise ConfigError(f"{type(criterion).__name__} is not supported with edits; write it as a Control.")
    width = input_ids.shape[1]
    pad = generation_config.pad_token_id
    eos = eos_ids_of(generation_config)
    pad_id = int(pad) if isinstance(pad, int) else eos[0] if eos else 0
    mask = prepared.get("attention_mask")  # None when nothing is padded
    keep_BT = torch.ones_like(input_ids) if mask is None else mask[:, :width]
    sampling = Sampling(
        temperature=1.0 if generation_config.do_sample else 0.0,
        max_new_tokens=generation_config.max_length - width,
        stop=_strings(generation_config.stop_strings),
        seed=int(torch.randint(2**62, ())) if generation_config.do_sample else 0,
    )
    completions = decode(
        model,
        [ids[keep.bool()].tolist() for ids, keep in zip(input_ids, keep_BT, strict=True)],
        sampling,
        controls=controls,
        rules=[Processors(logits_processor, width, pad_id), *rules] if logits_processor else rules,
        batch_size=len(input_ids),
        eos_ids=eos,
        to_text=to_text_of(tokenizer) if tokenizer is not None else None,
        listener=listener,
    )
    failed = [completion.error for completion in completions if completion.error is not None]
    if failed:
        raise ConfigError(failed[0])
    longest = max(len(completion.kept_ids) for completion in completions)
    replies = [[*c.kept_ids, *[pad_id] * (longest - len(c.kept_ids))] for c in completions]
    return torch.cat([input_ids, torch.tensor(replies, dtype=torch.long).to(input_ids.device)], dim=1)


def _strings(stop: str | list[str] | None) -> tuple[str, ...]:
    return () if stop is None else (stop,) if isinstance(stop, str) else tuple(stop)
