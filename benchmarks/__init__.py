"""What Sway costs, measured against peers and limits; apart from the tests, and never a gate."""
