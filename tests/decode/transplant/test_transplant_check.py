from contextlib import contextmanager

import pytest
import torch

from thinktwice.decode.transplant import Verifier
from thinktwice.decode.transplant.check import check


def failed(findings):
    return [finding.sentence for finding in findings if not finding.passed]


def test_every_family_passes(model):
    findings = check(model)
    assert failed(findings) == []
    assert len(findings) == 7
    assert not model.training


def test_a_recurrent_model_gets_its_one_sentence(build):
    (finding,) = check(build("Jamba"))
    assert not finding.passed
    assert "around the transplant" in finding.sentence


def broken(verifier, argue=None, choose=None):
    route = verifier.route
    if argue is not None:
        route.argue = argue(route.argue)
    if choose is not None:
        route.choose = choose(route.choose)
    return verifier


def test_states_that_do_not_arrive_are_found(llama):
    def lose(choose):
        def lost(batch, states):
            return choose(batch, {key: state * 0 for key, state in states.items()})

        return lost

    assert any(
        "must be exactly 0" in line for line in failed(check(llama, verifier=broken(Verifier(llama), choose=lose)))
    )


def test_states_that_are_not_used_are_found(llama):
    def ignore(choose):
        @contextmanager
        def alone(batch, states):
            with choose(batch, states):
                pass
            unused = sum(0 * state.sum() for state in states.values())
            yield llama(input_ids=batch.token_ids_BT).logits[:, batch.lengths_B[0] - 1] + unused

        return alone

    lines = failed(check(llama, verifier=broken(Verifier(llama), choose=ignore)))
    assert any("must be more than 0" in line for line in lines)
    assert any("gradient reaches" in line for line in lines)


def test_a_missing_layer_is_found(llama):
    def forget(argue):
        @contextmanager
        def less(batch):
            with argue(batch) as states:
                yield {key: state for key, state in states.items() if key[0] == 0}

        return less

    verifier = Verifier(llama)
    verifier.route.sites = [site for site in verifier.route.sites if site.layer == 0]
    assert any("taken from 1 layers; 2 were" in line for line in failed(check(llama, verifier=verifier)))


def test_a_missing_mask_is_found(build):
    model = build("Llama", tie_word_embeddings=False)
    forward = model.model.forward

    def unmasked(**inputs):
        ids = inputs["input_ids"]
        hidden = torch.zeros(len(ids), 1, ids.shape[1], ids.shape[1])  # every token sees every other
        return forward(**{**inputs, "attention_mask": hidden} if inputs.get("past_key_values") is None else inputs)

    verifier = Verifier(model, fast=False)
    model.model.forward = lambda *args, **inputs: unmasked(**inputs)
    assert any("the mask is there" in line for line in failed(check(model, verifier=verifier)))


def test_choices_whose_spans_differ_are_found(llama, make_choices):
    choices = make_choices()
    assert failed(check(llama, choices=choices)) == []
    wrong = [type(c)(c.argued, (*[9] * (len(c.token_ids) - 1), 5), c.moves, c.options, c.right) for c in choices]
    assert any("must spell the same span" in line for line in failed(check(llama, choices=wrong)))


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")
@pytest.mark.parametrize("names", [("arguer", "chooser"), ("chooser", "nobody")])
def test_adapters_must_be_there_and_apart(build, names):
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(build("Llama", tie_word_embeddings=False), LoraConfig(r=2), adapter_name="chooser")
    model.add_adapter("arguer", LoraConfig(r=2))
    lines = failed(check(model, adapters=names))
    assert lines == ([] if "nobody" not in names else ["the model has no adapter nobody"])
    if "nobody" not in names:
        parameters = dict(model.named_parameters())
        for name, parameter in parameters.items():
            if ".arguer." in name:
                parameter.data = parameters[name.replace(".arguer.", ".chooser.")].data
        assert any("8 of them shared" in line for line in failed(check(model, adapters=names)))
