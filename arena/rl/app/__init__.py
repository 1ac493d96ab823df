"""`arena train`: from a config to a trained policy and what is known of it."""
