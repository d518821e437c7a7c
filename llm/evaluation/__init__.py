"""The quality of a model on text that it never saw, and the question whether it may replace the champion.

`evaluate` measures a checkpoint by the metrics that the configuration names, and `gate` judges the scores. `metric`
says what a metric is: a module of this package with an object `METRIC`, or one of another package. The modules are
imported one by one. `words` and `gate.words` need nothing but Python, `metric` finds a metric without a heavy library,
`gate` needs numpy and polars, and `evaluate` needs torch.
"""
