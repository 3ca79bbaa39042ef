"""What a trained network is worth: scores, rankings, and what they predict."""
