"""What workers, trainers and commands share as clients of the brokers. Knows of no schema, model or setting."""
