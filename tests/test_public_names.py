import types

import thinktwice


def test_all_is_complete_sorted_and_loads() -> None:
    assert set(thinktwice.__all__) == set(thinktwice._MODULES)
    assert list(thinktwice.__all__) == sorted(thinktwice.__all__)
    for name in thinktwice.__all__:
        value = getattr(thinktwice, name)
        assert not isinstance(value, types.ModuleType), f"{name} is hidden by a module of that name"
