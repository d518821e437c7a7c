"""Statistics over documents: pairs of scores, and bootstrap intervals."""
