"""Every model on the same splits with the same metrics: `himirec benchmark`."""
