"""The run: the only room that touches files, checkpoints, signals and the terminal."""
