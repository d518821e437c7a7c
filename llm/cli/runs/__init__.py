"""The verbs that look at runs that were made: runs, report, costs."""
