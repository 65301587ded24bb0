"""Charts of a report, as text for its page."""
