"""Exception classes that Python does not have."""


class IfaValueError(ValueError, RuntimeError):
    """A wrong value: a ValueError by the operator's document, a RuntimeError where MindSpore raises it.

    Being both, it is caught by code written for either.
    """
