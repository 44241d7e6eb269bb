"""Attribution: what each row does to a trained model's predictions."""

from jaxval.attribution import influence, solvers

__all__ = ["influence", "solvers"]
