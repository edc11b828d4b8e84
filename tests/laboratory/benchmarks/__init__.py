"""How fast minidl is beside others: scripts, not tests. ``run.py`` runs them all."""
