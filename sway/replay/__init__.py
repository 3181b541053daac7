"""The command-line part of `sway replay`: parsing of bounds, output topics, processes, and display of progress."""
