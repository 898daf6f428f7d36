"""Classes without labels for frozen features: pure functions, features in, a class distribution for each image out."""
