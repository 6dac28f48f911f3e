"""A verifier that judges arguments from the inside: keys and values of an arguer, read by a chooser."""
