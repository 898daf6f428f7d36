"""Speed side by side with peers: ``make bench``, or ``python -m benchmarks.speed``.

Ratios count, absolute figures are of one machine and one hour. Contenders of one row therefore take turns within one
process, each row's process is fresh, and a ratio is the median of the ratios of each turn.
"""
