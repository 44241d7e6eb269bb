"""The warning that a quadratic form is the regulariser's, not the kernel's."""

__all__ = ["RegulariserWarning"]


class RegulariserWarning(UserWarning):
    """The regulariser dominates the kernel, so that a score hardly sees the data.

    Lower `zeta`, or give it relative to the kernel's mean diagonal.
    """
