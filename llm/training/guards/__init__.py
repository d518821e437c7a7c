"""Guards: what a training does when a step is out of the ordinary (`training.guards`). Every action is an event."""
