"""The worker and the replay.

    app.py          for Faust's command line: faust -A stream.app
    settings.py     the settings tree, the only reader of the environment
    assembly.py     builds model, micro-batcher, processor and label join from the settings
    scoring/        pure: processor, user windows, texts, label join
    exactly_once/   Faust in batches and Kafka transactions; knows nothing of Sway
    worker/         the Faust app, champion watcher, metrics, live quality, web pages
    handover/       hands labelled examples over to the trainer
    replay/         scores a historical range with the same processor

An event goes from exactly_once/driver (fetch, merge by time) to scoring/processor (window, text), to the micro-batcher
of model/, back to the processor (score), and out in one transaction of exactly_once/kafka.
"""
