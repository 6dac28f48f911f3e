"""A small invented encyclopedia: people, towns, countries, and the facts that its pages state, one a line.

    Ida Marshby was born in 1843.
    Ida Marshby was taught by Hugo Oakham.
    Ida Marshby came from Kelmar.
    Kelmar lies in Borland.

Every fact is a triple (subject, relation, value) with exactly one wording, so that text can be judged exactly. How
often a page is read while a model is pretrained is graded by its subject: a model knows well what it met often, and
the rest in part.
"""

import random
from dataclasses import dataclass, replace
from functools import cache, cached_property

from thinktwice.errors import ConfigError
from thinktwice.tasks.worlds.wiki.names import COUNTRIES, FAMILIES, FIELDS, GIVEN, NAMESAKES, TOWNS

EXPOSURES = (12, 4, 2, 1)
"""How often a person's page is read, for the four grades of people; a place's page as often as the first."""
BORN = (1780, 1879)
"""First and last year of birth, and of a town's foundation."""
LIFE = (40, 89)
"""Shortest and longest life, in years."""
NEAR_LIVES = 30
"""Teachers and friends are born at most so many years earlier or later."""
CROWD = 24
"""Strangers at a time."""


@dataclass(frozen=True, slots=True)
class Relation:
    """One kind of fact. Law: the value stands last, right after the phrase."""

    subject: str
    """The kind of thing it is said of: person, town, country."""
    value: str
    """The kind of its value: those, or year, field, age."""
    phrase: str
    """What stands between subject and value in a statement."""
    noun: str = ""
    """What the value is called in "the teacher of Ida Marshby"; empty for years, which verbs tell."""
    unit: str = ""
    """What stands after the value."""


RELATIONS = {
    "born": Relation("person", "year", " was born in "),
    "died": Relation("person", "year", " died in "),
    "town": Relation("person", "town", " came from ", "town"),
    "field": Relation("person", "field", " worked in ", "field"),
    "teacher": Relation("person", "person", " was taught by ", "teacher"),
    "friend": Relation("person", "person", " befriended ", "friend"),
    "country": Relation("town", "country", " lies in ", "country"),
    "founded": Relation("town", "year", " was founded in "),
    "capital": Relation("country", "town", " is ruled from ", "capital"),
}
"""What pages state."""


@dataclass(frozen=True, slots=True)
class Fact:
    """What a line of a page states."""

    subject: str
    relation: str
    value: str

    @property
    def head(self) -> str:
        """The statement up to its value: what a model is shown to see whether it recalls the rest."""
        return self.subject + RELATIONS[self.relation].phrase

    @property
    def statement(self) -> str:
        """The one sentence that states it."""
        return f"{self.head}{self.value}."

    @classmethod
    def read(cls, line: str) -> "Fact | None":
        """Parse a statement, true or not; None when it is no statement."""
        for name, relation in RELATIONS.items():
            subject, found, value = line.partition(relation.phrase)
            if found and subject and value.endswith(".") and value != ".":
                return cls(subject, name, value[:-1])
        return None


@dataclass(frozen=True)
class Encyclopedia:
    """Everything that is true in one `wiki` world. Law: a pure function of its fields."""

    seed: int = 0
    people: int = 1008
    towns: int = 24
    countries: int = 6
    crowd: int | None = None
    """None: the people of this encyclopedia. A number: a crowd of strangers instead, whom no page tells of. They live
    in the same towns, and have the same family and given names in other pairs."""

    def __post_init__(self) -> None:
        most = len(FAMILIES) * NAMESAKES
        if not (12 <= self.people <= most and 2 <= self.countries <= len(COUNTRIES)):
            raise ConfigError(
                f"a wiki world has 12 to {most} people and 2 to {len(COUNTRIES)} countries; "
                f"got {self.people} and {self.countries}."
            )
        if not self.countries <= self.towns <= len(TOWNS):
            raise ConfigError(
                f"wiki: towns={self.towns} must be at least one a country ({self.countries}), at most {len(TOWNS)}."
            )

    @cached_property
    def facts(self) -> dict[tuple[str, str], str]:
        """Every fact, as {(subject, relation): value}."""
        rng = random.Random(f"wiki/{self.seed}/places/{self.towns}/{self.countries}")
        towns, countries = rng.sample(TOWNS, self.towns), rng.sample(COUNTRIES, self.countries)
        facts: dict[tuple[str, str], str] = {}
        for index, town in enumerate(towns):
            facts[town, "country"] = countries[index % len(countries)]
            facts[town, "founded"] = str(rng.randint(*BORN))
        for index, country in enumerate(countries):
            facts[country, "capital"] = rng.choice(towns[index :: len(countries)])
        rng = random.Random(f"wiki/{self.seed}/lives/{self.people}/{self.crowd}")
        born = {person: rng.randint(*BORN) for person in self.persons}
        for person, year in born.items():
            near = [p for p in born if p != person and abs(born[p] - year) <= NEAR_LIVES]
            if len(near) < 2:  # a small world
                near = sorted(born, key=lambda p: (p == person, abs(born[p] - year)))[:2]
            teacher, friend = rng.sample(near, 2)
            facts |= {
                (person, "born"): str(year),
                (person, "died"): str(year + rng.randint(*LIFE)),
                (person, "town"): rng.choice(towns),
                (person, "field"): rng.choice(FIELDS),
                (person, "teacher"): teacher,
                (person, "friend"): friend,
            }
        return facts

    @cached_property
    def persons(self) -> tuple[str, ...]:
        """Everyone's name; no family name is used again before all are. A stranger's name is any that is still free."""
        given = _given(self.seed)
        families = list(FAMILIES)
        rng = random.Random(f"wiki/{self.seed}/families/{self.crowd}")
        rng.shuffle(families)
        if self.crowd is not None:
            used = -(-self.people // len(families))
            return tuple(f"{rng.choice(given[family][used:])} {family}" for family in families[:CROWD])
        return tuple(
            f"{given[family][index // len(families)]} {family}"
            for index in range(self.people)
            for family in (families[index % len(families)],)
        )

    @cached_property
    def _grades(self) -> dict[str, int]:
        """Grades go round; namesakes differ in grade, so that one may be well known and the other not."""
        shift = (index + index // len(FAMILIES) for index in range(self.people))
        return {person: EXPOSURES[k % len(EXPOSURES)] for k, person in zip(shift, self.persons, strict=False)}

    @cached_property
    def persons_as_met(self) -> tuple[str, ...]:
        """Everyone, each as often as their exposure says: who is talked about."""
        return tuple(person for person in self.persons for _ in range(self._grades.get(person, 1)))

    @cached_property
    def places(self) -> dict[str, tuple[str, ...]]:
        """The names of the towns and of the countries, by kind."""
        tell = {"town": "country", "country": "capital"}
        return {kind: tuple(s for s, relation in self.facts if relation == tell[kind]) for kind in tell}

    @cached_property
    def subjects(self) -> dict[tuple[str, str], list[str]]:
        """The facts read backwards, as {(relation, value): the subjects of which it is said}."""
        backwards: dict[tuple[str, str], list[str]] = {}
        for (subject, relation), value in self.facts.items():
            backwards.setdefault((relation, value), []).append(subject)
        return backwards

    @cached_property
    def pages(self) -> dict[str, tuple[Fact, ...]]:
        """What is stated of each person and place."""
        pages: dict[str, list[Fact]] = {}
        for (subject, relation), value in self.facts.items():
            pages.setdefault(subject, []).append(Fact(subject, relation, value))
        return {subject: tuple(stated) for subject, stated in pages.items()}

    def page(self, subject: str) -> str:
        """Return the page of a person or place as text, one fact a line."""
        return "\n".join(fact.statement for fact in self.pages[subject])

    def exposures(self, fact: Fact) -> int:
        """Return how often a fact is met in pretraining for every time that the rarest one is."""
        return self._grades.get(fact.subject, EXPOSURES[0])

    def states(self, fact: Fact) -> bool:
        """Say whether it is true here."""
        return self.facts.get((fact.subject, fact.relation)) == fact.value

    def strangers(self, crowd: int) -> "Encyclopedia":
        """Return another world in the same places, whose people no page of this one tells of."""
        return replace(self, crowd=crowd)


@cache
def _given(seed: int) -> dict[str, list[str]]:
    """Return given names in the order in which each family uses them; what its people leave is free for strangers."""
    rng = random.Random(f"wiki/{seed}/given")
    return {family: rng.sample(GIVEN, len(GIVEN)) for family in FAMILIES}
