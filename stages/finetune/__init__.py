"""Fine-tune a pretrained model for a task."""
