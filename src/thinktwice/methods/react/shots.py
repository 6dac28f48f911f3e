"""Three worked examples for prompts: one search, none, two searches."""

from dataclasses import dataclass

from thinktwice.methods.react.episode import ANSWER, SEARCH, Turn


@dataclass(frozen=True, slots=True)
class Shot:
    """A question with the turns that answer it; the last one is the answer."""

    question: str
    turns: tuple[Turn, ...]


SHOTS = (
    Shot(
        "In which country does the Aare rise?",
        (
            Turn(
                "I need to find out where the Aare rises.",
                SEARCH,
                "Aare river source",
                "Aare: The Aare is a tributary of the High Rhine and the longest river that both rises and ends "
                "entirely within Switzerland.",
                ("Aare",),
            ),
            Turn("The Aare rises in Switzerland.", ANSWER, "Switzerland"),
        ),
    ),
    Shot("Which is longer, a mile or a kilometre?", (Turn("A mile is about 1.6 kilometres.", ANSWER, "a mile"),)),
    Shot(
        "Were the composers of Finlandia and Peer Gynt born in the same country?",
        (
            Turn(
                "I need the composer of Finlandia and where he was born.",
                SEARCH,
                "Finlandia composer",
                "Finlandia: Finlandia is a tone poem by Jean Sibelius, who was born in Hämeenlinna in Finland.",
                ("Finlandia",),
            ),
            Turn(
                "Sibelius was born in Finland. Now I need the composer of Peer Gynt.",
                SEARCH,
                "Peer Gynt composer",
                "Peer Gynt (Grieg): Peer Gynt is the incidental music by Edvard Grieg, who was born in Bergen in "
                "Norway.",
                ("Peer Gynt (Grieg)",),
            ),
            Turn("One was born in Finland, the other in Norway.", ANSWER, "no"),
        ),
    ),
)
