import json
import re
from dataclasses import FrozenInstanceError, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinktwice.config import REST, Arm, Headline, Recipe, Spec, load, merge, parse, to_dict
from thinktwice.errors import ConfigError
from thinktwice.types import Score, Step, Trace

RECIPE = """\
name: backtrack
task: {name: arith, facts: 2}
method:
  name: backtrack
  context: off
  rate: 1e-3
arms:
  base: {trained: false}
  control: {method: {rate: 0}}
  backtrack: {}
  undo_off: {weights: backtrack, method: {context: off}}
  majority: {weights: control, method: {name: baseline}, match_tokens: backtrack}
evaluation:
  levels: [4, 8]
  in_distribution: 4
headline: {a: backtrack, b: control, level: 8, through: undo_off}
train:
  learning_rate: 1e-3
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def test_defaults_then_file_then_overrides(recipe: Path) -> None:
    loaded = load(Recipe, recipe, ["decode.batch_size=8", "task.facts=5", "arms.undo_off.method.rate=0.5"])
    assert (loaded.decode.max_new_tokens, loaded.decode.batch_size) == (256, 8)
    assert loaded.task == Spec("arith", {"facts": 5})
    assert loaded.arms["undo_off"] == Arm(method={"context": "off", "rate": 0.5}, weights="backtrack")
    assert loaded.headline == Headline("backtrack", "control", 8, "undo_off")


def test_yaml_is_read_by_the_rules_of_version_1_2(recipe: Path) -> None:
    loaded = load(
        Recipe, recipe, ["method.colon=1:30", "method.day=2026-11-20", "method.octal=010", "method.answer=no"]
    )
    assert loaded.method.options == {
        "context": "off", "rate": 0.001, "colon": "1:30", "day": "2026-11-20", "octal": 10, "answer": "no",
    }  # fmt: skip
    assert loaded.train == {"learning_rate": 0.001}


def test_the_resolved_config_is_json_that_loads_again(recipe: Path, tmp_path: Path) -> None:
    loaded = load(Recipe, recipe, ["model.revision=abc 😀", "seed=7"])
    saved = tmp_path / "config.json"
    saved.write_text(json.dumps(to_dict(loaded)))  # escapes beyond U+FFFF as surrogates, which YAML would break
    assert load(Recipe, saved) == loaded


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trian.x=3", "trian: unknown key 'trian'. Did you mean 'train'?"),
        ("arms.undo_off.wights=base", "arms.undo_off.wights: unknown key 'wights'. Did you mean 'weights'?"),
        ("decode.batch_size=2.0", "decode.batch_size: expected a whole number, got number 2.0"),
        ("decode.batch_size=two", "decode.batch_size: expected a whole number, got text 'two'"),
        ("seed=true", "seed: expected a whole number, got true"),
        ("decode.temperature=.nan", "decode.temperature: expected a finite number"),
        (
            "model.dtype=float33",
            "expected one of auto, float32, bfloat16, float16; got text 'float33'. Did you mean 'f",
        ),
        ("evaluation.levels=3", "evaluation.levels: expected a list of whole numbers, got number 3"),
        ("evaluation.levels=[4, x]", "evaluation.levels[1]: expected a whole number, got text 'x'"),
        ("headline=5", "headline: expected a mapping with keys a, b, level, through or null, got number 5"),
        ("name.x=3", "name is text 'backtrack', which has no keys below it"),
        ("decode.top_p=0", "decode: top_p must be in (0, 1], got 0.0"),
        ("word", "expected key=value (such as train.learning_rate=1e-3), got 'word'"),
        ("=3", "expected key=value"),
    ],
)
def test_an_override_that_is_wrong_says_what_was_expected(recipe: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as raised:
        load(Recipe, recipe, [override])
    if "expected key" not in message:
        assert str(raised.value).startswith(override)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("facts: 2}", "facts: 2}\nseeed: 3", 3, "seeed: unknown key 'seeed'. Did you mean 'seed'?"),
        ("{trained: false}", "{traind: false}", 8, "arms.base.traind: unknown key 'traind'. Did you mean 'trained'?"),
        ("[4, 8]", "{4: 8}", 14, "evaluation.levels: expected a list of whole numbers, got mapping"),
        ("train:", "name: again\ntrain:", 17, "'name' is written twice; keep one"),
        ("arms:", "arms: [", 9, "not valid yaml"),
    ],
)
def test_a_wrong_line_in_a_file_is_named(recipe: Path, old: str, new: str, line: int, message: str) -> None:
    recipe.write_text(RECIPE.replace(old, new, 1))
    with pytest.raises(ConfigError) as raised:
        load(Recipe, recipe)
    assert str(raised.value).startswith(f"{recipe}:{line}: ")
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["headline.level=9"], "headline.level is 9, which evaluation.levels [4, 8] does not score"),
        (["headline.b=contrl"], "headline.b: no arm is called 'contrl'. Did you mean 'control'?"),
        (["headline.b=backtrack"], "headline compares an arm with itself"),
        (["headline.through=backtrack"], "headline compares an arm with itself"),
        (["arms.undo_off.weights=base"], "arms.undo_off.weights: arm 'base' trains no weights of its own"),
        (["arms.control.match_tokens=control"], "arm 'control' must stand further up"),
        (["arms.base.match_tokens=backtrack"], "arm 'backtrack' must stand further up"),
        (["arms.base.match_tokens=bactrack"], "no arm is called 'bactrack'. Did you mean 'backtrack'?"),
        (["evaluation.in_distribution=5"], "in_distribution is 5"),
        (["evaluation.levels=[8, 8]"], "names a level twice"),
        (["name=../up"], "name: '../up' names a file or directory"),
        (["arms={}"], "arms must name at least one arm"),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(recipe: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        load(Recipe, recipe, overrides)


def test_missing_keys_and_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "backtrack.yaml").write_text("")
    with pytest.raises(ConfigError, match=r"name: missing; write `name: \.\.\.`"):
        load(Recipe, tmp_path / "backtrack.yaml")
    with pytest.raises(ConfigError, match=r"no recipe at .*backtrak\.yaml\. Did you mean '.*backtrack\.yaml'"):
        load(Recipe, tmp_path / "backtrak.yaml")


def test_options_checked_later_still_know_their_line(recipe: Path) -> None:
    @dataclass(frozen=True)
    class Training:
        learning_rates: float = 1.0

    loaded = load(Recipe, recipe)
    with pytest.raises(ConfigError, match=re.escape(f"{recipe}:18: train: learning_rate: unknown key 'learning_rate'")):
        parse(Training, loaded.train, "train")
    with pytest.raises(ConfigError, match=re.escape("train.x=1 (command line): x: unknown key 'x'")):
        parse(Training, merge({}, merge({}, load(Recipe, Path(recipe), ["train={x: 2}", "train.x=1"]).train)))


def test_words_typed_where_text_is_asked_for_stay_as_typed(recipe: Path) -> None:
    loaded = load(Recipe, recipe, ["name=010", "model.revision=1234567", "model.path=true"])
    assert (loaded.name, loaded.model.revision, loaded.model.path) == ("010", "1234567", "true")
    assert load(Recipe, recipe, ["model.revision=null"]).model.revision is None


def test_an_anchor_shared_by_two_arms_is_not_changed_in_both(recipe: Path) -> None:
    text = RECIPE.replace("{trained: false}", "&x {trained: false}")
    recipe.write_text(text.replace("backtrack: {}", "other: *x\n  backtrack: {}"))
    loaded = load(Recipe, recipe, ["arms.other.trained=true"])
    assert (loaded.arms["base"].trained, loaded.arms["other"].trained) == (False, True)


def test_merge_lays_one_over_the_other_and_changes_neither() -> None:
    base, over = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"c": 4}, "e": 5}
    assert merge(base, over) == {"a": {"b": 1, "c": 4}, "d": 3, "e": 5}
    assert base == {"a": {"b": 1, "c": 2}, "d": 3}


def test_any_frozen_dataclass_reads_back() -> None:
    step = Step("undo", "x", (1, 2), kept=False)
    for value in (Trace("p", (step,), "budget"), Trace("p", stop="error", error="why"), Score(0.5, None, "because")):
        assert parse(type(value), json.loads(json.dumps(to_dict(value)))) == value
    with pytest.raises(ConfigError, match=re.escape("steps[0].kind: expected one of text")):
        parse(Trace, {"problem_id": "p", "steps": [{"kind": "txt", "text": ""}]})


def test_a_recipe_cannot_be_changed(recipe: Path) -> None:
    with pytest.raises(FrozenInstanceError):
        load(Recipe, recipe).name = "other"  # type: ignore[misc]


@dataclass(frozen=True)
class Everything:
    number: int
    ratio: float
    flag: bool
    word: str
    choice: Literal["a", "b", 3] = "a"
    maybe: float | None = None
    either: int | str = 0
    pair: tuple[int, str] = (0, "")
    table: dict[int, list[float]] = field(default_factory=dict)
    rest: dict[str, Any] = field(default_factory=dict, metadata=REST)


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.builds(
        Everything,
        number=st.integers(),
        ratio=finite,
        flag=st.booleans(),
        word=st.text(),
        choice=st.sampled_from(["a", "b", 3]),
        maybe=st.none() | finite,
        either=st.integers() | st.text(),
        pair=st.tuples(st.integers(), st.text()),
        table=st.dictionaries(st.integers(), st.lists(finite)),
        rest=st.dictionaries(st.text().map("x_{}".format), st.none() | st.text() | st.integers()),
    )
)
def test_to_dict_then_parse_is_the_identity(value: Everything) -> None:
    assert parse(Everything, json.loads(json.dumps(to_dict(value)))) == value
