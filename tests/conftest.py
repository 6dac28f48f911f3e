"""What holds for every test."""

from hypothesis import settings

# A shared machine is no clock: how long one example takes decides nothing.
settings.register_profile("thinktwice", deadline=None)
settings.load_profile("thinktwice")
