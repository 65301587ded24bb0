"""Training and scoring of classifiers as published."""
