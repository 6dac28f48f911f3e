"""`model.generate(custom_generate=...)`: the same as generate until a control fires."""

import pytest
import torch
from transformers import MaxTimeCriteria, StoppingCriteriaList

from thinktwice.decode.generate import custom_generate
from thinktwice.decode.loop import decode
from thinktwice.decode.undo import UndoStep, undo_policy
from thinktwice.errors import ConfigError
from thinktwice.types import Sampling

PAD, UNDO = 0, 60


@pytest.fixture
def batch():
    return {
        "input_ids": torch.tensor([[PAD, PAD, 5, 6, 7], [11, 12, 13, 14, 15], [PAD, 21, 22, 23, 24]]),
        "attention_mask": torch.tensor([[0, 0, 1, 1, 1], [1] * 5, [0, 1, 1, 1, 1]]),
        "pad_token_id": PAD,
    }


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"repetition_penalty": 1.7},
        {"no_repeat_ngram_size": 2},
        {"bad_words_ids": [[3], [4, 5]]},
        {"eos_token_id": [7, 19, 33], "min_new_tokens": 4},
        {"suppress_tokens": [40, 41, 42], "eos_token_id": 17},
    ],
)
def test_same_output_as_generate_with_its_own_processors(llama, batch, options):
    options = {**batch, "do_sample": False, "max_new_tokens": 20, **options}
    plain = llama.generate(**options)
    ours = llama.generate(**options, custom_generate=custom_generate)
    assert torch.equal(ours, plain[:, : ours.shape[1]])
    assert (plain[:, ours.shape[1] :] == PAD).all()


def test_controls_edit_and_processors_see_the_visible_ids_only(llama, batch):
    seen = []

    class Spy:
        def __call__(self, input_ids, scores):
            seen.extend(ids.tolist() for ids in input_ids)
            return scores

    controls, rules = undo_policy(UNDO, unit="step", step_ends=frozenset(range(20)), bias=5.0, max_edits=3)
    ours = llama.generate(
        **batch,
        do_sample=False,
        max_new_tokens=20,
        custom_generate=custom_generate,
        logits_processor=[Spy()],
        controls=controls,
        rules=rules,
    )
    prompts = [ids[mask.bool()].tolist() for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
    direct = decode(llama, prompts, Sampling(max_new_tokens=20), controls=controls, rules=rules)
    assert any("deleted" in completion.fates for completion in direct)
    for row, completion in zip(ours[:, 5:].tolist(), direct, strict=True):
        kept = list(completion.kept_ids)
        assert row == kept + [PAD] * (len(row) - len(kept))
    assert all(UNDO not in ids for ids in seen)
    assert {len(ids) for ids in seen} >= {5, 6, 7}


def test_sampling_follows_the_global_seed(llama, batch):
    options = {**batch, "do_sample": True, "top_p": 0.9, "temperature": 1.3, "max_new_tokens": 12}
    outs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outs.append(llama.generate(**options, custom_generate=custom_generate, controls=[UndoStep(UNDO, frozenset())]))
    assert torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])


def test_what_cannot_be_done_is_refused(llama, batch):
    with pytest.raises(ConfigError, match="num_beams"):
        llama.generate(**batch, return_dict_in_generate=True, custom_generate=custom_generate, max_new_tokens=2)
    with pytest.raises(ConfigError, match="MaxTimeCriteria"):
        llama.generate(
            **batch,
            custom_generate=custom_generate,
            max_new_tokens=2,
            stopping_criteria=StoppingCriteriaList([MaxTimeCriteria(1.0)]),
        )
