"""``python -m bridge``: the command line."""

from bridge.cli.main import main

if __name__ == "__main__":
    main()
