"""Training: losses, discriminators, checkpoints that resume bit for bit, and the loop that joins them."""
