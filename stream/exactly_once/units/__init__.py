"""Records, units and layers: what is read, and what becomes visible together. No client, no thread."""
