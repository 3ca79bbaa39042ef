"""The compress and regenerate verbs: a network as images, and back."""
