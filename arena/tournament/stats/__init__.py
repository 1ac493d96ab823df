"""Rankings and their uncertainty, from result rows."""
