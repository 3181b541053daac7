"""`sway evaluate`: metrics of a version beside baselines."""
