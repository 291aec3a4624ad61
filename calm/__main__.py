"""Run the command line with ``python -m calm``."""

from calm.cli import main

if __name__ == "__main__":
    main()
