"""How good a version is: metrics with intervals, baselines, and a report with plots.

The parts:

    resampling    the bootstrap
    gain          whether a lower loss is more than chance
    evaluation    each metric with its interval
    baselines     what a model must beat
    scoring       a model's predictions for examples, and how long they take
    plots, page, report    what a person reads
"""
