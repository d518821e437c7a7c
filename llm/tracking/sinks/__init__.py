"""The sinks of events that are ours: one module each, with its class as `SINK`."""
