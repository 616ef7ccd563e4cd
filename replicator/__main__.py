"""`python -m replicator` is `replicator`."""

from replicator.cli.main import main

if __name__ == "__main__":
    main()
