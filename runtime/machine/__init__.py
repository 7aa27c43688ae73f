"""What the machine is: its GPU, its board, its memory, and what of that decides which engine to choose."""
