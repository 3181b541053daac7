"""Performance benchmarks against peers and limits. They are separate from the tests and never fail a build."""
