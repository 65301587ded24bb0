"""What a study compares, on what, and how it is trained; written down before it begins."""
