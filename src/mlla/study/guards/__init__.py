"""What has to hold before any number is shown."""
