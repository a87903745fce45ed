"""``python -m landscape_cli``."""

from landscape_cli.cli.app import main

if __name__ == "__main__":
    main()
