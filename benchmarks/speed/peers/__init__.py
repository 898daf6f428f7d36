"""The same work as others do it. A peer is imported where it is measured, so that one that is missing costs its row."""
