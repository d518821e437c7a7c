"""Text from a checkpoint: `sampling` picks the next token, `generator` streams a continuation."""
