"""Does a change help? Comparisons of detectors with honest statistics."""
