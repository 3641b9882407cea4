"""The worker: claims jobs, runs them, stores what became of them. Knows the store by its contract only."""
