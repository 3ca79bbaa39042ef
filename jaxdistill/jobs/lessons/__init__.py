"""Training by a pretext in a run's folder, and what the trained are worth."""
