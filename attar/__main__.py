"""`python -m attar`."""

from attar.cli import main

main()
