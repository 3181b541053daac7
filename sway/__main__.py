"""`python -m sway` is `sway`."""

from sway.cli import main

main()
