"""Sealing a day, forgetting it, and repair as the exception; decision 7 says why and in which order."""
