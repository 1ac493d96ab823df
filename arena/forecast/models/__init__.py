"""Networks that forecast, for inference."""
