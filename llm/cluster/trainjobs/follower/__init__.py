"""Following a TrainJob: one look, one decision, and what is done then, until its end."""
