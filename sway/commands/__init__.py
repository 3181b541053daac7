"""The commands of `sway`, one module each; sway.cli registers them.

A command's docstring is its help text: what it does, then an example. A command reads the settings, calls the
package that does the work, and prints the result.
"""
