"""The study and predict verbs: what random images tell of distilled ones."""
