"""The Faust app: transport, tables, intake, and the engine that reads, scores and commits units."""
