"""KFP components, one folder each: parameters in, one call of a step, artifacts out."""
