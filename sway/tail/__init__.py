"""`sway tail`: follow a topic and print its records."""
