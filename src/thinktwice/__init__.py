"""thinktwice teaches language models to think twice, and proves each gain against an honest control."""

__version__ = "0.1.0"
