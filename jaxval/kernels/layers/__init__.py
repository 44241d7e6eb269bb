"""The layer engine: products of per-sample gradients that are never formed."""
