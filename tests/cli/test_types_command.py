"""`thinktwice types`: what the public `step_type.sh` does, on the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from thinktwice.config import Arm, Recipe, Spec, to_dict
from thinktwice.methods.planning.typers import load_typer

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    made = Recipe(
        name="tiny",
        task=Spec("arith", {"train": 40, "per_level": 6, "levels": [3]}),
        method=Spec("planning", {"extract_step_type_tokens": "k-means", "num_plan_types": 3}),
        arms={"plain": Arm(method={"name": "baseline"}), "typed": Arm()},
    )
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(to_dict(made)))
    return str(path)


def test_fit_writes_a_typer_that_show_shows(call: Call, recipe: str, tmp_path: Path) -> None:
    out = tmp_path / "fitted"
    code, said, errors = call("types", "fit", recipe, "--out", str(out))
    assert code == 0, errors
    assert "kmeans2" in said
    assert "40 problems, seed 0" in said
    assert sorted(p.name for p in out.iterdir()) == ["picture.json", "typer.json", "typer.safetensors", "types.html"]
    assert load_typer(out).types == ("kmeans0", "kmeans1", "kmeans2")
    (out / "types.html").unlink()
    code, again, _ = call("types", "show", str(out), "--out", str(tmp_path / "page.html"))
    assert code == 0
    assert "block → next" in again
    assert "steps of 6 problems" in (tmp_path / "page.html").read_text()


def test_a_run_shows_the_typers_of_its_stages(call: Call, recipe: str, tmp_path: Path) -> None:
    place = tmp_path / "run" / "stages" / "collect-typed" / "fitted"
    assert call("types", "fit", recipe, "--selection-method", "operators", "--output-dir", str(place))[0] == 0
    (place / "picture.json").unlink()
    code, said, _ = call("types", "show", str(tmp_path / "run"))
    assert code == 0
    assert "source of types: +-*/" in said
    assert "nothing to draw" in said


@pytest.mark.parametrize("name", ["--num-types", "--num-plan-types"])
def test_the_public_names_of_options_work(call: Call, recipe: str, tmp_path: Path, name: str) -> None:
    code, _, errors = call(
        "types", "fit", recipe, name, "4", "--selection-method", "vae", "--train-epoch", "1", "--problems", "5",
        "--out", str(tmp_path / "fitted"),
    )  # fmt: skip
    assert code == 0, errors
    saved = json.loads((tmp_path / "fitted" / "typer.json").read_text())
    assert saved["fields"]["types"] == ["vae_0", "vae_1", "vae_2", "vae_3"]
    assert saved["fields"]["autoencoder"]["epochs"] == 1
    assert saved["fit"]["problems"] == 5


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["fitt", "RECIPE"], 2, "Did you mean 'fit'?"),
        (["fit", "RECIPE"], 2, "--out DIR"),
        (["fit", "RECIPE", "--out", "HERE"], 2, "exists already"),
        (["fit", "RECIPE", "--out", "NEW", "--arm", "plane"], 2, "Did you mean 'plain'?"),
        (["fit", "RECIPE", "--out", "NEW", "--arm", "plain"], 2, "has no planning tokens"),
        (["fit", "RECIPE", "--out", "NEW", "--selection-method", "general"], 2, "tell no step from another"),
        (["fit", "RECIPE", "--out", "NEW", "--epochs", "3"], 2, "--epochs is for the SQ-VAE"),
        (["fit", "RECIPE", "--out", "NEW", "--num-types", "900"], 1, "needs at least 900 steps"),
        (["show", "NEW"], 1, "there is no fitted typer at"),
        (["show", "HERE", "--num-types", "4"], 2, "the other options are for types fit"),
    ],
)
def test_mistakes_are_one_sentence(
    call: Call, recipe: str, tmp_path: Path, words: list[str], code: int, says: str
) -> None:
    places = {"RECIPE": recipe, "HERE": str(tmp_path), "NEW": str(tmp_path / "new")}
    found, _, errors = call("types", *(places.get(word, word) for word in words))
    assert found == code
    assert says in errors
    assert errors.startswith("thinktwice: ")
    assert errors.count("\n") == 1
    assert not (tmp_path / "new").exists()
