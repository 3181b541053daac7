"""The label join: assigns each event its label, exactly once. Does no I/O; reads and writes state by callables."""
