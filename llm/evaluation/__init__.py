"""How good a model is on text that it never saw, and whether it may replace the champion.

`evaluate` scores a checkpoint, `gate` judges the scores, `words` tells the verdict. The modules are imported
one by one: `words` needs nothing but Python, `gate` numpy and polars, `evaluate` torch.
"""
