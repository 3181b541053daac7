"""The numbers that a model is given beside texts: one pure function of user state, item state and event.

    names       what the numbers are, in their order, and their version
    keys        short names of texts and items
    state       running sums of an item, a user and a partition; their bytes
    history     a user's window as columns
    items       what a checkpoint knows of items: vectors, biases, counts
    learning    what an outcome that becomes known changes
    signals     outcomes of the history, weighted by similarity to the behaviour being scored
    numbers     the function
    snapshot    all that the numbers of one behaviour are made of, and its bytes

Worker, replay and trainer call the same function on the same state, so they get the same bits. No clock, environment,
log, Kafka or torch.
"""
