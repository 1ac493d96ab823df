"""The application of `arena train`: from a config file to a trained policy and what is known of it."""
