"""Programs of a serving pod: probes, drain, trial of a new model, fetch of a model."""
