"""Scores: pure functions `(reply, reference) -> Score`, and the statistics of comparing them."""
