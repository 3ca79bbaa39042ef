"""Few labels: pretraining without any, fine-tuning on some, and how ways compare."""
