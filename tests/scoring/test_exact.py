import pytest

from thinktwice.scoring import exact


@pytest.mark.parametrize(
    ("reply", "reference", "value"),
    [
        ("The  Eiffel Tower.", "eiffel tower", 1),
        ("a theatre", "theatre", 1),
        ("Paris, France", "Paris", 0),
        ("", "", 1),
    ],
)
def test_exact(reply, reference, value):
    assert exact.score(reply, reference).value == value
