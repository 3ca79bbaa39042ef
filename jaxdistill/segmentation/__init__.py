"""Segmentation students that learn from teachers, and hold up on sites unseen."""
