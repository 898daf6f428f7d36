"""The figures of the documentation, from runs trained for them: ``make gallery``."""
