"""Exact values of closed expressions: fractions of sums of terms with rational coefficients, roots and symbols.

A term is a product of atoms with rational exponents: prime numbers under a root (12^(1/2) is 2 * 3^(1/2)), symbols (x,
pi, and i with i² = -1), and what is not worked out any further (sin 20°, the root of a sum). Products of primes' roots
are linearly independent over the rationals (Besicovitch 1940), so a sum has one normal form, and a/b = c/d is decided
by ad = bc: no floating point, no tolerance. What stays opaque is compared by its own normal form: two equal opaque
values may be called different, two different ones are never called equal.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

Atom = Hashable
Term = frozenset[tuple[Atom, Fraction]]
Sum = Mapping[Term, Fraction]

MAX_TERMS = 200
MAX_BITS = 4000
MAX_POWER = 200
MAX_FACTORED = 10**10
UNIT: Term = frozenset()
I = "i"  # noqa: E741  the imaginary unit's name


class Unworkable(ValueError):  # noqa: N818  not an error: the text is compared as text
    """The expression is too large, divides by zero, or is nothing that has a value."""


@dataclass(frozen=True)
class Value:
    """A fraction of two sums. Law: `bottom` is never zero; a `bottom` of one term has been divided out."""

    top: Sum
    bottom: Sum

    @cached_property
    def key(self) -> Hashable:
        """What opaque atoms are compared by."""
        return (frozenset(self.top.items()), frozenset(self.bottom.items()))

    @property
    def rational(self) -> Fraction | None:
        """The number this is, when it is a rational one."""
        if self.bottom != {UNIT: Fraction(1)} or not set(self.top) <= {UNIT}:
            return None
        return self.top.get(UNIT, Fraction(0))

    @property
    def symbol(self) -> bool:
        """Whether this is a bare product of symbols, as on the left of `x = 5` and `f(x) = 5`."""
        if self.bottom != {UNIT: Fraction(1)} or list(self.top.values()) != [1]:
            return False
        (term,) = self.top
        return bool(term) and all(isinstance(atom, str) and atom not in (I, "pi") for atom, _ in term)


def number(value: Fraction | int) -> Value:
    """Return a rational number."""
    return _value({UNIT: Fraction(value)})


def symbol(name: str) -> Value:
    """Return a symbol; `i` is the imaginary unit."""
    return _value({frozenset({(name, Fraction(1))}): Fraction(1)})


def opaque(*parts: Hashable) -> Value:
    """Return something that equals only itself."""
    return _value({frozenset({(tuple(parts), Fraction(1))}): Fraction(1)})


def _value(top: Sum, bottom: Sum | None = None) -> Value:
    top = {term: c for term, c in top.items() if c}
    bottom = {UNIT: Fraction(1)} if bottom is None else {term: c for term, c in bottom.items() if c}
    if not bottom:
        raise Unworkable("division by zero")
    if len(bottom) == 1 and bottom != {UNIT: Fraction(1)}:
        ((term, coefficient),) = bottom.items()
        inverse = frozenset((atom, -exponent) for atom, exponent in term)
        return _value(_times(top, dict([_term(inverse, 1 / coefficient)])))
    if len(top) > MAX_TERMS or len(bottom) > MAX_TERMS:
        raise Unworkable("too many terms")
    if any(
        max(c.numerator.bit_length(), c.denominator.bit_length()) > MAX_BITS for c in [*top.values(), *bottom.values()]
    ):
        raise Unworkable("too large a number")
    return Value(top, bottom)


def _term(atoms: Term | Mapping[Atom, Fraction], coefficient: Fraction) -> tuple[Term, Fraction]:
    """Bring a product to its normal form: primes' exponents in (0, 1), i's in {0, 1}."""
    kept: dict[Atom, Fraction] = {}
    for atom, exponent in dict(atoms).items():
        if isinstance(atom, int):
            whole = exponent.numerator // exponent.denominator
            coefficient, exponent = coefficient * Fraction(atom) ** whole, exponent - whole
        elif atom == I and exponent.denominator == 1:
            turns = exponent.numerator % 4
            coefficient, exponent = (-coefficient if turns >= 2 else coefficient), Fraction(turns % 2)
        if exponent:
            kept[atom] = exponent
    return frozenset(kept.items()), coefficient


def _times(a: Sum, b: Sum) -> dict[Term, Fraction]:
    if len(a) * len(b) > MAX_TERMS**2:
        raise Unworkable("too many terms")
    product: dict[Term, Fraction] = {}
    for one, c in a.items():
        for other, d in b.items():
            atoms = dict(one)
            for atom, exponent in other:
                atoms[atom] = atoms.get(atom, Fraction(0)) + exponent
            term, coefficient = _term(atoms, c * d)
            product[term] = product.get(term, Fraction(0)) + coefficient
    return {term: c for term, c in product.items() if c}


def _plus(a: Sum, b: Sum) -> dict[Term, Fraction]:
    total = dict(a)
    for term, c in b.items():
        total[term] = total.get(term, Fraction(0)) + c
    return total


def add(a: Value, b: Value) -> Value:
    """Return a + b."""
    if a.bottom == b.bottom:
        return _value(_plus(a.top, b.top), a.bottom)
    return _value(_plus(_times(a.top, b.bottom), _times(b.top, a.bottom)), _times(a.bottom, b.bottom))


def negate(a: Value) -> Value:
    """Return -a."""
    return Value({term: -c for term, c in a.top.items()}, a.bottom)


def multiply(a: Value, b: Value) -> Value:
    """Return a * b."""
    return _value(_times(a.top, b.top), _times(a.bottom, b.bottom))


def divide(a: Value, b: Value) -> Value:
    """Return a / b.

    Raises:
        Unworkable: b is zero.
    """
    return _value(_times(a.top, b.bottom), _times(a.bottom, b.top))


def power(base: Value, exponent: Value) -> Value:
    """Return base ** exponent; opaque where it cannot be worked out."""
    q = exponent.rational
    if q is None:
        return opaque("power", base.key, exponent.key)
    if q.denominator != 1:
        return _root(base, q)
    if abs(q) > MAX_POWER or (abs(q) > MAX_TERMS // 10 and len(base.top) + len(base.bottom) > 2):
        raise Unworkable("too high a power")
    if q < 0:
        base, q = divide(number(1), base), -q
    result = number(1)
    for _ in range(int(q)):
        result = multiply(result, base)
    return result


def _root(base: Value, q: Fraction) -> Value:
    unknown = ("power", base.key, q)
    if base.bottom != {UNIT: Fraction(1)} or len(base.top) > 1 or q.denominator > MAX_POWER or abs(q) > MAX_POWER:
        return opaque(*unknown)
    if not base.top:
        if q < 0:
            raise Unworkable("division by zero")
        return base
    ((term, coefficient),) = base.top.items()
    if coefficient == 1 and len(term) == 1 and all(isinstance(atom, str) and atom != I and e == 1 for atom, e in term):
        return _value({frozenset({(next(iter(term))[0], q)}): Fraction(1)})
    if any(not isinstance(atom, int) and atom != "pi" for atom, _ in term):
        return opaque(*unknown)  # the sign of x is not known: the root of x² is not x
    atoms: dict[Atom, Fraction] = {atom: exponent * q for atom, exponent in term}
    for part, sign in ((abs(coefficient.numerator), 1), (coefficient.denominator, -1)):
        for prime, times in factors(part).items():
            atoms[prime] = atoms.get(prime, Fraction(0)) + sign * times * q
    turned = Fraction(1)
    if coefficient < 0:
        if q.denominator == 2:
            atoms[I] = Fraction(q.numerator)
        elif q.denominator % 2 == 0:
            return opaque(*unknown)
        else:  # the real root
            turned = Fraction(-1) ** (q.numerator % 2)
    return _value(dict([_term(atoms, turned)]))


def factors(n: int) -> dict[int, int]:
    """Return the prime factors of n >= 1 with their multiplicities.

    Raises:
        Unworkable: n is larger than `MAX_FACTORED`.
    """
    if n > MAX_FACTORED:
        raise Unworkable("too large a number under a root")
    found: dict[int, int] = {}
    divisor = 2
    while divisor * divisor <= n:
        while n % divisor == 0:
            found[divisor], n = found.get(divisor, 0) + 1, n // divisor
        divisor += 1 if divisor == 2 else 2
    if n > 1:
        found[n] = found.get(n, 0) + 1
    return found


def same(a: Value, b: Value) -> bool:
    """Say whether two values are equal, exactly."""
    return _times(a.top, b.bottom) == _times(b.top, a.bottom)
