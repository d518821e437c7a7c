"""DAGs of components, and no logic of their own."""
