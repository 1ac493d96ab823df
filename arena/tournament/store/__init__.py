"""What a run keeps on disk, and its copies elsewhere."""
