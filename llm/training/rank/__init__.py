"""The parts of one rank: where it computes, which share of the work is its own, and what it computes."""
