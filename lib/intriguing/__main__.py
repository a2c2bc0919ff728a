"""`python -m intriguing` is the `intriguing` command."""

import sys

from intriguing.cli import main

if __name__ == "__main__":
    sys.exit(main())
