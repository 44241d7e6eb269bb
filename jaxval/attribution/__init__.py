"""Attribution: what each row does to a trained model's predictions."""

from jaxval.attribution import influence

__all__ = ["influence"]
