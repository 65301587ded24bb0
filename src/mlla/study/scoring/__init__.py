"""From weights to average precision: predictions, matches, scores of each run."""
