"""The label join: which event gets which label, each exactly once. Pure; state comes and goes by two callables."""
