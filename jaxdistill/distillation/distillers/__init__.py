"""A method is a loss: one file each, opened by its paper and equation."""
