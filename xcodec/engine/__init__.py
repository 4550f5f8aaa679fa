"""Acceleration, and nothing else: how a codec runs fast on the processor at hand."""
