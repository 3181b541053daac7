"""Error rates of the gate on simulated requests: false promotions and power."""
