"""The three routes against each other, and against states copied by hand."""

from dataclasses import replace

import pytest
import torch

from thinktwice.decode.transplant import Verifier, collate_choices, probe
from thinktwice.decode.transplant.cached import CachedRoute
from thinktwice.decode.transplant.hooks import HookRoute
from thinktwice.decode.transplant.interface import InterfaceRoute
from thinktwice.decode.transplant.rotation import measure_rotations
from thinktwice.errors import ConfigError, ModelError
from thinktwice.types import Choice, Move

HOOKS_ONLY = {"MptForCausalLM"}  # ALiBi: what is added depends on the length of the text as it is held
NO_INTERFACE = {"FalconForCausalLM", "MptForCausalLM", "GPTNeoForCausalLM"}


@torch.no_grad()
def logits(route, choices):
    batch = collate_choices(choices, by_shift=route.by_shift)
    with route.argue(batch) as states, route.choose(batch, states) as logits_BV:
        return logits_BV


def apart(a, b):
    return float((a - b).norm() / a.norm())


@torch.no_grad()
def by_hand(model, choices, layers=(0, 1), parts="kv"):
    """The seed's way: every example alone, states in lists, written in place after the projections of a Llama."""
    found = []
    for choice in choices:
        stored = {}
        modules = {
            (layer, part): getattr(model.model.layers[layer].self_attn, f"{part}_proj")
            for layer in layers
            for part in parts
        }
        for source, text in enumerate(choice.argued):
            hooks = [
                module.register_forward_hook(
                    lambda m, i, o, k=(key, source), into=stored: into.__setitem__(k, o[0].clone())
                )
                for key, module in modules.items()
            ]
            model(input_ids=torch.tensor([text]))
            for hook in hooks:
                hook.remove()

        def write(key, output, stored=stored, choice=choice):
            output = output.clone()
            for move in choice.moves:
                states = stored[key, move.source][move.start : move.start + move.n]
                output[0, move.to : move.to + move.n] = states
            return output

        hooks = [m.register_forward_hook(lambda m, i, o, k=key: write(k, o)) for key, m in modules.items()]
        found.append(model(input_ids=torch.tensor([choice.token_ids])).logits[0, -1])
        for hook in hooks:
            hook.remove()
    return torch.stack(found)


@pytest.mark.parametrize(
    ("layers", "parts"), [((), "kv"), ((1,), "kv"), ((1,), "k"), ((), "v")], ids=["all", "layer", "keys", "values"]
)
def test_hooks_move_what_the_seed_moved(llama, make_choices, layers, parts):
    choices = make_choices()
    verifier = Verifier(llama, layers=layers, parts=parts)
    expected = by_hand(llama, choices, layers or (0, 1), parts)
    assert apart(expected, logits(verifier.route, choices)) < 1e-6
    text = [replace(choice, moves=()) for choice in choices]
    assert apart(expected, logits(verifier.route, text)) > 0.01


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (-1, -1), (2, 0), (0, -1)], ids=["all", "seed", "last", "cut"])
def test_every_rows_rule_gives_the_same_on_the_fast_route(llama, make_choices, start, stop):
    choices = make_choices(start=start, stop=stop)
    verifier = Verifier(llama, fast=True)
    expected = by_hand(llama, choices)
    assert apart(expected, logits(verifier.route, choices)) < 1e-6
    assert apart(expected, logits(verifier.fast, choices)) < 1e-6


def test_families_agree_on_every_route(model, make_choices):
    choices = make_choices(seed=1)
    verifier = Verifier(model)
    assert isinstance(verifier.route, HookRoute)
    expected = logits(verifier.route, choices)
    name = type(model).__name__
    if name in HOOKS_ONLY:
        assert "off by" in verifier.fast_problem
    else:
        assert verifier.fast_problem == ""
        assert apart(expected, logits(verifier.fast, choices)) < 1e-5
    if name in NO_INTERFACE:
        with pytest.raises(ModelError, match="neither have a projection"):
            InterfaceRoute(model, verifier.keys)
    else:
        other = InterfaceRoute(model, verifier.keys)
        assert other.by_shift == (name not in ("GPT2LMHeadModel", "OPTForCausalLM"))
        assert apart(expected, logits(other, choices)) < 1e-5
        assert model.config._attn_implementation in ("sdpa", "eager")
    text = [replace(choice, moves=()) for choice in choices]
    assert apart(expected, logits(verifier.route, text)) > 0.01


@pytest.mark.parametrize("route", [HookRoute, InterfaceRoute], ids=["hooks", "interface"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_text_put_into_itself_changes_nothing_at_all(build, route, dtype):
    model = build("Qwen3", tie_word_embeddings=False).to(dtype)
    text = tuple(range(8, 20))
    alone = Choice((text,), text, (), (0, 1), None)
    own = Verifier(model)
    way = own.route if route is HookRoute else InterfaceRoute(model, own.keys)
    batch = collate_choices([replace(alone, moves=(Move(0, 0, 0, 11),))])
    batch = replace(batch, argued_ids_NT=batch.token_ids_BT, argued_lengths_N=batch.lengths_B)
    expected = logits(way, [alone])
    with torch.no_grad(), way.argue(batch) as states, way.choose(batch, states) as found:
        assert torch.equal(found, expected)


@pytest.mark.parametrize("way", ["route", "fast"])
def test_an_answer_does_not_depend_on_what_is_beside_it(llama, make_choices, way):
    choices = [*make_choices(3, seed=2), *probe(llama)]
    choices.append(replace(choices[0], moves=()))
    route = getattr(Verifier(llama), way)
    together = logits(route, choices)
    for index, choice in enumerate(choices):
        assert apart(logits(route, [choice])[0], together[index]) < 1e-5


def test_the_choosers_own_candidate_does_not_matter_where_all_of_it_is_moved(llama, make_choices):
    def scrambled(choice, upto):
        ids = list(choice.token_ids)
        for move in choice.moves:
            for row in range(move.to, move.to + move.n + upto):
                ids[row] = 8 + (ids[row] + 5) % 50
        return replace(choice, token_ids=tuple(ids), same_text=False)

    whole, seeds = make_choices(), make_choices(start=-1, stop=-1)
    route = Verifier(llama).route
    assert torch.equal(logits(route, whole), logits(route, [scrambled(c, 0) for c in whole]))
    # Shifted by one, the candidate's last token is the chooser's own and is read.
    last = [
        replace(
            c,
            token_ids=tuple(
                8 + (t + 5) % 50 if any(row == m.to + m.n for m in c.moves) else t for row, t in enumerate(c.token_ids)
            ),
        )
        for c in seeds
    ]
    assert apart(logits(route, seeds), logits(route, last)) > 1e-3


def test_only_the_moved_layers_and_parts_are_moved(llama, make_choices):
    some = Verifier(llama, layers=(1,), parts="v")
    assert some.keys == [(1, "v")]
    assert "chooser's own" in some.fast_problem
    with pytest.raises(ConfigError, match="cannot skip the moved rows"):
        Verifier(llama, layers=(1,), fast=True)
    whole = logits(Verifier(llama).route, make_choices())
    assert apart(whole, logits(some.route, make_choices())) > 0.01


def test_a_norm_of_keys_is_the_choosers_own(build, make_choices):
    """What is moved comes before the norm: with its scale doubled in between, the chooser applies the new one."""
    model = build("Qwen3", tie_word_embeddings=False)
    verifier = Verifier(model, layers=(1,), parts="k")
    batch = verifier.collate(make_choices())
    with torch.no_grad(), verifier.route.argue(batch) as states:
        before = states[1, "k"]
        model.model.layers[1].self_attn.k_norm.weight.mul_(2.0)
        with verifier.route.choose(batch, states) as found:
            pass
        assert torch.equal(found, logits(verifier.route, make_choices()))  # the arguer's own second norm plays no part
    assert torch.equal(before, states[1, "k"])


@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "rope_theta": 10000.0},
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
            "rope_theta": 10000.0,
        },
    ],
    ids=lambda scaling: scaling["rope_type"],
)
def test_scaled_rotary_positions_are_turned_as_the_model_turns_them(build, make_choices, scaling):
    verifier = Verifier(build("Llama", rope_parameters=scaling), fast=True)
    choices = make_choices(seed=4)
    assert apart(logits(verifier.route, choices), logits(verifier.fast, choices)) < 1e-5


def test_positions_that_depend_on_the_length_keep_the_slow_route(build, make_choices):
    scaling = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    model = build("Llama", rope_parameters=scaling)
    verifier = Verifier(model)
    assert "length of the text" in verifier.fast_problem
    with pytest.raises(ModelError, match="dynamic or long"):
        InterfaceRoute(model, verifier.keys)


def test_a_window_that_slides_keeps_the_slow_route(build, make_choices):
    verifier = Verifier(build("Mistral", sliding_window=32))
    assert verifier.fast_problem == ""
    assert verifier.way(31) is verifier.fast
    assert verifier.way(32) is verifier.route
    assert verifier.way(31, checkpointed=True) is verifier.route
    assert Verifier(build("Mistral", sliding_window=8)).fast is None


@pytest.mark.parametrize("dtype", [torch.bfloat16])
def test_half_precision_routes_agree_to_its_rounding(build, make_choices, dtype):
    model = build("Llama", tie_word_embeddings=False).to(dtype)
    verifier = Verifier(model, fast=True)
    choices = make_choices()
    assert apart(logits(verifier.route, choices), logits(verifier.fast, choices)) < 0.05


def test_keys_turned_in_an_unknown_way_are_not_turned(build, monkeypatch):
    model = build("Llama", tie_word_embeddings=False)
    model.model.rotary_emb.inv_freq.mul_(1.0)
    honest = measure_rotations(model)
    assert [rotation.layout for rotation in honest] == ["halves", "halves"]
    monkeypatch.setattr(type(model.model.rotary_emb), "forward", _strange(type(model.model.rotary_emb).forward))
    assert measure_rotations(model) is None
    assert "not known" in Verifier(model).fast_problem


def _strange(forward):
    def squared(self, x, position_ids, *args, **kwargs):
        return forward(self, x, position_ids**2, *args, **kwargs)

    return squared


def test_gradients_reach_the_arguer_on_every_route(llama, make_choices):
    choices = make_choices()
    verifier = Verifier(llama)
    found = {}
    weight = llama.model.layers[0].self_attn.k_proj.weight
    for name, route in (
        ("hooks", verifier.route),
        ("cached", verifier.fast),
        ("interface", InterfaceRoute(llama, verifier.keys)),
    ):
        batch = collate_choices(choices, by_shift=route.by_shift)
        with route.argue(batch) as argued:
            pass
        leaves = {key: state.detach().requires_grad_() for key, state in argued.items()}
        with route.choose(batch, leaves) as logits_BV:
            logits_BV[:, 6].sum().backward()
        (gradient,) = torch.autograd.grad(
            [argued[key] for key in leaves], [weight], [leaf.grad for leaf in leaves.values()]
        )
        found[name] = gradient
        llama.zero_grad()
    assert float(found["hooks"].norm()) > 0
    assert apart(found["hooks"], found["cached"]) < 1e-5
    assert apart(found["hooks"], found["interface"]) < 1e-5


def test_the_arguer_stops_where_nothing_more_is_moved(llama, make_choices):
    some, whole = (Verifier(llama, layers=layers, fast=False).route for layers in ((0,), (0, 1)))
    cached = CachedRoute(llama, measure_rotations(llama))
    ran = []
    hooks = [
        layer.mlp.register_forward_hook(lambda *_, n=n: ran.append(n)) for n, layer in enumerate(llama.model.layers)
    ]
    batch = collate_choices(make_choices())
    found = {}
    for name, route in (("some", some), ("whole", whole), ("cached", cached)):
        ran.clear()
        with torch.no_grad(), route.argue(batch):
            found[name] = list(ran)
    for hook in hooks:
        hook.remove()
    assert found == {"some": [], "whole": [0], "cached": [0]}
