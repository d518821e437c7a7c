"""Settings that follow from others once these are known: the micro-batch that fits, and the stages of a training."""
