"""A reply that still knows how it was written."""

from thinktwice.types import Trace


class Reply(str):
    """The visible text of a reply. Law: it is the plain text to everyone; who asks finds the `trace` it came from.

    The harness hands strings from model to metric; this is how the retractions get there.
    """

    trace: Trace

    def __new__(cls, text: str, trace: Trace) -> "Reply":
        """Attach a trace to a text."""
        reply = super().__new__(cls, text)
        reply.trace = trace
        return reply

    def __getnewargs__(self) -> tuple[str, Trace]:  # type: ignore[override]
        """Pickle and copy with the trace."""
        return (str(self), self.trace)
