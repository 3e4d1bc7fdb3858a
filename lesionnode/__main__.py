"""``python -m lesionnode`` is ``lesion-node``."""

from lesionnode.cli import main

if __name__ == "__main__":
    main()
