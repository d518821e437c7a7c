"""Things that others made, brought into the store as products of the usual kinds: checkpoints, tokenizers, corpora.

`origin` keeps where each came from. `start` makes of an adopted checkpoint the first weights of a training.
"""
