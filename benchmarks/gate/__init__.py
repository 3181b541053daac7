"""How often the gate errs: false promotions and power on simulated requests."""
