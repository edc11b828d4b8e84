"""Diagnosis: what went wrong, where, and why; nothing here is needed by a training step."""
