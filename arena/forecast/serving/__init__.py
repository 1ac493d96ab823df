"""Forecasters for many callers: batches, caches, a Ray actor."""
