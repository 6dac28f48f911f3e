"""K/V transplant: keys and values of one text's rows put in the place of another's, without touching a model's source.

    argued texts -> arguer -> states of the moved rows -> chooser, which reads its own text around them -> an identifier

`sites` finds where a model makes its keys and values; `hooks`, `interface` and `cached` are three ways to move them
that give the same logits; `verifier` chooses among them; `check` proves on a model that what is moved arrives. What is
moved where is data (`types.Choice`).

Source of the method: seed 003 (M. MacDougall, 2023); of the split of its backward pass: GradCache (Gao et al., 2021).
"""

from thinktwice.decode.transplant.batch import ChoiceBatch, check_choice, collate_choices
from thinktwice.decode.transplant.verifier import Parts, Role, Switch, Verifier, option_logprobs, probe

__all__ = [
    "ChoiceBatch",
    "Parts",
    "Role",
    "Switch",
    "Verifier",
    "check_choice",
    "collate_choices",
    "option_logprobs",
    "probe",
]
