"""Distilled sets: what all methods share; the methods are in `distillers`."""
