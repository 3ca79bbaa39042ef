"""Self-training: labels for a few films, and folds of films without."""
