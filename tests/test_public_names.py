import subprocess
import sys
import types

import thinktwice
from thinktwice.methods import METHODS, method_class


def test_all_is_complete_sorted_and_loads() -> None:
    assert set(thinktwice.__all__) == set(thinktwice._MODULES)
    assert list(thinktwice.__all__) == sorted(thinktwice.__all__)
    for name in thinktwice.__all__:
        value = getattr(thinktwice, name)
        assert not isinstance(value, types.ModuleType), f"{name} is hidden by a module of that name"


def test_every_method_with_a_module_of_its_name_is_public() -> None:
    """`Planning`, `React` and `Transplant` were not, for as long as they had existed."""
    for name, place in METHODS.items():
        module, _, class_name = place.partition(":")
        if module == f"thinktwice.methods.{name}":
            assert getattr(thinktwice, class_name) is method_class(name)


def test_a_name_is_loaded_when_it_is_used() -> None:
    script = (
        "import sys, thinktwice\n"
        "assert set(thinktwice.__all__) <= set(dir(thinktwice))\n"
        "assert not {m for m in sys.modules if m.startswith('thinktwice.')} and 'torch' not in sys.modules\n"
        "thinktwice.Planning, thinktwice.React, thinktwice.Transplant\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
