"""Our decoding loop against `model.generate`, and what edits cost: ratios measured in one run.

    OMP_NUM_THREADS=1 python benchmarks/decode.py [model directory]

Without a model: a random one of the nano base's size, whose end tokens are chosen so that replies end at ragged lengths
as real ones do. Every ratio is the median over rounds that run both, so that a busy machine decides little.
"""

import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from thinktwice.decode import loop
from thinktwice.decode.loop import decode
from thinktwice.decode.undo import UndoRun
from thinktwice.types import Completion, Control, Rewind, RowView, Sampling

BATCH, PROBLEMS, BUDGET, ROUNDS, UNDO = 64, 256, 160, 7, 3


def random_model() -> PreTrainedModel:
    """A Llama of 0.49 million parameters."""
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=512,
            hidden_size=96,
            intermediate_size=256,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            initializer_range=0.1,
            bos_token_id=None,
            eos_token_id=None,
        )
    ).eval()


def prompts_of(model: PreTrainedModel, model_path: str | None) -> list[list[int]]:
    """Problems of mixed difficulty, or random ids of such lengths."""
    draw = random.Random(0)
    if model_path is None:
        return [[draw.randrange(512) for _ in range(draw.randint(50, 150))] for _ in range(PROBLEMS)]
    from transformers import AutoTokenizer

    from thinktwice.render import Render
    from thinktwice.tasks.worlds.arith import problems, take

    render = Render(AutoTokenizer.from_pretrained(model_path))
    found = [p for level in (2, 4, 6, 8) for p in take(problems("dev", 0, (level, level)), PROBLEMS // 4)]
    return [list(render.prompt(p)) for p in draw.sample(found, len(found))]


def generate(model: PreTrainedModel, prompts: list[list[int]], eos: list[int]) -> list[list[int]]:
    """`model.generate`, batch after batch of prompts of like length, padded on the left."""
    replies: dict[int, list[int]] = {}
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    for start in range(0, len(order), BATCH):
        members = order[start : start + BATCH]
        width = len(prompts[members[0]])
        ids = torch.tensor([[0] * (width - len(prompts[i])) + prompts[i] for i in members])
        mask = torch.tensor([[0] * (width - len(prompts[i])) + [1] * len(prompts[i]) for i in members])
        out = model.generate(
            ids, attention_mask=mask, max_new_tokens=BUDGET, do_sample=False, eos_token_id=eos, pad_token_id=0
        )
        for i, row in zip(members, out[:, width:].tolist(), strict=True):
            end = next((place + 1 for place, token in enumerate(row) if token in eos), len(row))
            replies[i] = row[:end]
    return [replies[i] for i in range(len(prompts))]


def ours(
    model: PreTrainedModel, prompts: list[list[int]], eos: list[int], controls: tuple[Control, ...] = ()
) -> list[Completion]:
    """Our loop, with the same order of prompts."""
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    sampling = Sampling(max_new_tokens=BUDGET)
    done = decode(model, [prompts[i] for i in order], sampling, eos_ids=eos, batch_size=BATCH, controls=controls)
    return [completion for _, completion in sorted(zip(order, done, strict=True), key=lambda pair: pair[0])]


class Retract:
    """The undo token takes back the three tokens before it."""

    watch = frozenset({UNDO})

    def edit(self, row: RowView, drawn: int) -> Rewind | None:
        """Rewind when it is drawn."""
        return Rewind(4) if drawn == UNDO else None


class Force:
    """Draws the undo token at random, about once in twelve tokens: a retraction a solution step."""

    def __init__(self) -> None:
        self.draw = torch.Generator().manual_seed(0)

    def __call__(self, rows: Sequence[RowView], logits: Tensor) -> Tensor:
        """Raise its logit in some rows."""
        logits[torch.rand(len(rows), generator=self.draw) < 1 / 12, UNDO] = 1e9
        return logits


class Reencoding(loop.Decoder):
    """What decoders without an editable cache do: after a retraction a row's whole prefix is read again."""

    def _rewind(self, batch: loop.Batch, row: int, edit: Rewind, control: Control) -> None:
        super()._rewind(batch, row, edit, control)
        batch.fed[row] = 0


def retracting(decoder: type[loop.Decoder], model: PreTrainedModel, prompts: list[list[int]]) -> list[tuple[int, ...]]:
    """Decode one batch with frequent retractions."""
    running = decoder(
        model, Sampling(max_new_tokens=BUDGET), controls=[Retract()], rules=[Force()], batch_size=BATCH, eos_ids=()
    )
    for index, prompt in enumerate(prompts[:BATCH]):
        running.add(prompt, key=index)
    while running.step():
        pass
    return [running.completions[index].kept_ids for index in range(BATCH)]


def ratio(slow: Callable[[], object], fast: Callable[[], object]) -> float:
    """How many times longer `slow` takes: the median over rounds that run both, in alternation."""
    ratios = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        slow()
        between = time.perf_counter()
        fast()
        ratios.append((between - start) / (time.perf_counter() - between))
    return statistics.median(ratios)


def ragged_ends(model: PreTrainedModel, prompts: list[list[int]]) -> list[int]:
    """End tokens under which a random model's replies have about the lengths that solutions have."""
    replies = generate(model, prompts[:BATCH], [])
    ends: list[int] = []
    lengths = [BUDGET] * len(replies)
    for token in sorted({t for reply in replies for t in reply}):
        cut = [min(n, r.index(token) + 1 if token in r else n) for n, r in zip(lengths, replies, strict=True)]
        if sum(cut) / len(cut) >= BUDGET * 0.5 and cut != lengths:
            ends, lengths = [*ends, token], cut
    return ends


def main() -> None:
    path = sys.argv[1] if len(sys.argv) > 1 else None
    if path is None:
        model: PreTrainedModel = random_model()
    else:
        if not Path(path).is_dir():
            raise SystemExit(f"{path} is not a model directory")
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    prompts = prompts_of(model, path)
    eos = ragged_ends(model, prompts) if path is None else loop.eos_ids_of(model.generation_config)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {torch.get_num_threads()} threads, batch {BATCH}")

    theirs, mine = generate(model, prompts, eos), ours(model, prompts, eos)
    same = sum(list(c.token_ids) == reply for c, reply in zip(mine, theirs, strict=True))
    lengths = sorted(map(len, theirs))
    print(
        f"reply lengths: median {lengths[len(lengths) // 2]}, longest {lengths[-1]}; same tokens: {same} of {len(mine)}"
    )
    quiet = UndoRun(min(set(range(model.config.vocab_size)) - {t for reply in theirs for t in reply}))
    plain = lambda: ours(model, prompts, eos)  # noqa: E731
    faster = ratio(lambda: generate(model, prompts, eos), plain)
    print(f"generate / ours                           {faster:6.2f}   (aim 2)")
    watched = ratio(lambda: ours(model, prompts, eos, (quiet,)), plain) - 1
    print(f"a control that never fires                {watched:+6.1%}   (aim at most 5 %)")
    few_shot = [[(7 * i + j) % 300 + 20 for j in range(300)] + prompt for i, prompt in enumerate(prompts[:BATCH])]
    for name, texts in (("re-encoding / rewinding", prompts), ("... with 300 tokens of examples before", few_shot)):
        assert retracting(loop.Decoder, model, texts) == retracting(Reencoding, model, texts)
        found = ratio(lambda: retracting(Reencoding, model, texts), lambda: retracting(loop.Decoder, model, texts))  # noqa: B023
        print(f"{name:40}  {found:6.2f}   (aim 3)")


if __name__ == "__main__":
    main()
