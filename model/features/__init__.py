"""Numeric features of a late model: one pure function of user state, item state and event.

    names       the features in order, and their version
    keys        64-bit keys of texts and items
    state       running sums of an item, a user and a partition, and their encoding
    history     a user's window as columns
    items       a checkpoint's item vectors, biases and counts
    learning    state updates by an observed outcome
    signals     outcomes of the history, weighted by similarity to the behaviour being scored
    numbers     the feature function for one behaviour
    batch       the feature function for many behaviours
    snapshot    the inputs of the feature function for one behaviour, and their encoding

The worker, replay and the trainer call the same function on the same state and get bit-identical results. The package
uses no clock, environment, log, Kafka or torch.
"""
