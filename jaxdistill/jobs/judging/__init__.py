"""Judging a set on validation and test, beside the sets that it must beat."""
