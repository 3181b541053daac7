"""Training: datasets of labelled examples, both readings, the gate and the trainer service.

Of this project's packages it imports model, schemas and clients.
"""
