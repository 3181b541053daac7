"""What tests share: tiny models, the processor without Kafka, plain reference implementations, scripted clients."""
