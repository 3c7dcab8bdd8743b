"""Asynchronous watching in the triggerer: what deferred tasks wait for."""
