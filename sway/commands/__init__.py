"""The commands of `sway`, one module each; sway.cli lists them.

A command's docstring is its help: what it does, then an example. What it does in detail stands in the rest
of the packages; a command reads the settings, calls, and shows.
"""
