"""Fine-tuning of a base model on videos; loop, objective and checkpoints of any training."""
