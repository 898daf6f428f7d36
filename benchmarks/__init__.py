"""What the project claims, measured: figures of training and, in `benchmarks.speed`, speed side by side with peers."""
