"""Parts that studies share: deals, ground truth, methods, tables."""
