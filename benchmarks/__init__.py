"""Measuring what a bundle costs and what it finds, against the PyTorch reference."""
