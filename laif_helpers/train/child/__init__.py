"""What runs inside the training process; the notebook's kernel imports nothing of it."""
