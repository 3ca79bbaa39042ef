"""The distill verb: experts, distillation, evaluation, in one folder."""
