"""Distil medical image data sets and models in JAX."""
