import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinktwice.scoring import algebra, latex, math

SAME = [
    (r"\frac{1}{2}", "0.5"),
    (r"\frac12", "1/2"),
    (r"\dfrac{3}{4}", r"\tfrac34"),
    (r"-\frac{1}{2}", r"\frac{-1}{2}"),
    (r"0.\overline{3}", "1/3"),
    (r"2\frac13", "7/3"),
    ("5.", "5"),
    ("1{,}234", "1234"),
    ("100,000", "100000"),
    (r"\sqrt{12}", r"2\sqrt3"),
    (r"\frac{1}{1+\sqrt{2}}", r"\sqrt{2}-1"),
    (r"\sqrt[3]{54}", r"3\sqrt[3]{2}"),
    (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}"),
    (r"\sqrt{2}\cdot\sqrt{3}", "sqrt(6)"),
    (r"\sqrt{-4}", "2i"),
    ("(1+i)^2", "2i"),
    ("2π", r"2\pi"),
    (r"\frac{3\pi}{4}", r"\frac34\pi"),
    ("(x+1)^2", "x^2+2x+1"),
    (r"\frac{x^2-1}{x-1}", "x+1"),
    (r"\binom{5}{2}", "10"),
    ("10!", "3628800"),
    ("2^{10}", "1024"),
    (r"50\%", "50"),
    (r"\$12.50", "12.5"),
    (r"90^\circ", "90"),
    (r"18\text{ cm}^2", "18"),
    ("18 cm", "18"),
    (r"10\mathrm{~m}", "10"),
    ("3 apples", "3"),
    ("x=5", "5"),
    ("f(x)=2x", "2x"),
    (r"\{2,1\}", r"\{1, 2\}"),
    ("1, 2", "2,1"),
    (r"5 \text{ or } 6", "6, 5"),
    ("5 or 6", "5, 6"),
    (r"3\pm\sqrt{2}", r"3-\sqrt2, 3+\sqrt2"),
    ("(100, 200)", "(100,200)"),
    (r"\left(\frac{1}{2}, 3\right)", "(0.5,3)"),
    (r"(-\infty,2)\cup(3,5]", r"(3,5] \cup (-\infty,2)"),
    (r"x\in[1,2]", "[1,2]"),
    ("x>3", "3<x"),
    (r"\begin{pmatrix} 1 & 2 \\ 3 & 4/2 \end{pmatrix}", r"\begin{pmatrix}1&2\\3&2\end{pmatrix}"),
    (r"\text{Evelyn}", "evelyn"),
    (r"\text{(C)}", "C"),
    ("1011_2", "1011_{2}"),
    (r"\overline{AB}", r"\overline{AB}"),  # not of the language: compared as text
]
DIFFERENT = [
    ("0.333", "1/3"),
    ("3.4", "3"),
    ("18", "18.5"),
    ("2", "-2"),
    ("3.14", r"\pi"),
    ("(1,2)", "(2,1)"),
    ("[0,1)", "(0,1)"),
    ("1,2", "1,2,3"),
    ("5 or 6", "5"),
    ("1011_2", "1011_3"),
    ("x=5", "y=5"),
    ("x<3", "x>3"),
    ("2x", "2"),
    ("2g", "2"),
    ("2 sin x", "2"),
    ("2xyz", "2"),
    ("x", "X"),
    ("Evelyn", "Evlyne"),
    (r"\frac{1}{23}", r"\frac{12}{3}"),
    ("(100,200)", "(100200)"),
    (r"\sqrt{x^2}", "x"),
    ("1/0", "5"),
    ("", "5"),
    ("__import__('os').system('true')", "0"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_equal(one, other):
    assert math.equal(one, other)
    assert math.equal(other, one)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_not_equal(one, other):
    assert not math.equal(one, other)
    assert not math.equal(other, one)


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("The answer is: 5.", "5"),
        ("x\nThe answer is: $x=5$, $y=6$", "$x=5$, $y=6$"),
        (r"The final answer is $\frac12$. I hope it is correct.", r"\frac12"),
        (r"so \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"The answer is: \boxed{\{1, \{2\}\}}", r"\{1, \{2\}\}"),
        (r"\boxed{1}, no, the answer is: 2", "2"),
        (r"the answer is: 2, no, \boxed{1}", "1"),
        ("#### 7", "7"),
        (r"\boxed{\frac{1}{2}", None),
        ("The answer is:", None),
        ("5", None),
    ],
)
def test_the_last_statement_counts(reply, found):
    assert math.stated(reply) == found


def test_boxed_is_balanced():
    assert math.boxed(r"first \boxed{1}, then $\boxed{\frac{a}{\sqrt{b}}}$ at last") == r"\frac{a}{\sqrt{b}}"
    assert math.boxed(r"\boxed 5$ is") == "5"
    assert math.boxed("nothing") is None
    assert math.boxed(r"\boxed{open") is None


def test_score_says_why():
    right, wrong, none = (math.score(reply, r"\frac{1}{2}") for reply in ("The answer is: 0.5", "#### 2", "half"))
    assert (right.value, right.answer) == (1.0, "0.5")
    assert (wrong.value, wrong.why) == (0.0, r"stated 2; expected \frac{1}{2}")
    assert (none.value, none.answer, none.scored) == (0.0, None, True)
    assert "no answer found" in none.why


BOMBS = [
    *("(" * 400, "{" * 400, r"\sqrt{" * 100, r"\frac" * 80, "-" * 390 + "1", "|" * 399, "9^9^9^9^9", "200!!"),
    *("(x+y+z)^{199}", "(a+b+c+d+e)^{20}", "((x+1)^{20})^{20}", r"\sqrt{9999999967}", r"\pm" * 100 + "1"),
    *("1," * 190, "9" * 5000, "1 ab" * 400, "x^{y}" * 60, r"2^{200}^{200}^{200}", "1/" * 150 + "3"),
]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb[:12])
def test_no_expression_is_a_bomb(bomb):
    assert not math.equal(bomb, "5")


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "bomb", [r"\boxed{" * 40_000, "#### $" * 40_000, "the answer is: " * 30_000, "#### " + "(" * 300_000]
)
def test_no_reply_is_a_bomb(bomb):
    assert math.score(bomb, "5").value == 0


COMMANDS = ("frac", "sqrt", "pi", "pm", "cup", "{", "}", "\\", "begin{pmatrix}", "end{pmatrix}")
PIECES = st.sampled_from([*r"{}12x+-*/^_()[],=<|!&.i", "3.5", *(f"\\{name}" for name in COMMANDS)])


@settings(max_examples=400)
@given(st.lists(PIECES, max_size=14), st.lists(PIECES, max_size=6))
def test_any_text_is_read_or_not_and_equals_itself(pieces, others):
    text, other = " ".join(pieces), " ".join(others)
    latex.read(text)  # must not raise
    assert math.equal(text, text)
    assert math.equal(text, other) == math.equal(other, text)


@given(st.integers(0, 10**6))
def test_algebra_agrees_with_floating_point(seed):
    """Random expressions in roots: equal values are equal, and what differs by far is different."""
    rng = random.Random(seed)

    def draw(depth: int) -> tuple[algebra.Value, float]:
        if depth == 0:
            n = rng.randint(1, 12)
            if rng.random() < 0.5:
                return algebra.number(Fraction(n, 3)), n / 3
            return algebra.power(algebra.number(n), algebra.number(Fraction(1, 2))), n**0.5
        (a, x), (b, y) = draw(depth - 1), draw(depth - 1)
        kind = rng.randrange(3)
        if kind == 0:
            return algebra.add(a, b), x + y
        return (algebra.multiply(a, b), x * y) if kind == 1 else (algebra.divide(a, b), x / y)

    (a, x), (b, y) = draw(3), draw(3)
    assert algebra.same(algebra.add(a, b), algebra.add(b, a))
    assert algebra.same(algebra.divide(algebra.multiply(a, b), b), a)
    assert algebra.same(
        algebra.multiply(algebra.add(a, b), a), algebra.add(algebra.multiply(a, a), algebra.multiply(a, b))
    )
    assert algebra.same(a, b) == (abs(x - y) < 1e-9 * max(x, y))


def test_a_tuple_is_no_number():
    assert latex.read("(1,2)+1") is None
    assert math.rational("(1,2)") is None
    assert math.rational(r"\frac{3}{6}") == Fraction(1, 2)
    assert math.rational("x") is None
