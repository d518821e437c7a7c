"""The verbs that talk to a cluster: submit, status, logs, cancel, compile."""
