"""The gate: compares a candidate with the champion and says PASS, FAIL or INCONCLUSIVE."""
