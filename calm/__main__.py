"""``python -m calm`` is ``calm``."""

from calm.cli import main

if __name__ == "__main__":
    main()
