"""The waist: what a run is, on disk. No torch, no plotting."""
