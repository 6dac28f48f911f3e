"""`python -m thinktwice` is `thinktwice`."""

from thinktwice.cli import main

if __name__ == "__main__":
    main()
