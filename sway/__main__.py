"""Entry point of `python -m sway`."""

from sway.cli import main

main()
