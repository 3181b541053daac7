"""What `sway replay` adds to stream.replay: what a person wrote, plan and progress shown, processes, topics."""
