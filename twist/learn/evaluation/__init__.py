"""How good features and classes are: protocols as pure functions on tensors, and what feeds them."""
