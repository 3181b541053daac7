"""Evaluation of a version: metrics with intervals, baselines, and a report with plots.

resampling             the bootstrap
gain                   significance of a lower loss
evaluation             metrics with intervals
baselines              simple predictors to compare with
scoring                a model's predictions for examples, and their duration
plots, page, report    the report
"""
