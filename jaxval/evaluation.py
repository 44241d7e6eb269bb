"""What the values are worth: curves, rank correlation, detection."""
