"""Rejection of clips: the reject label, and a warning if no clip can be rejected."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Reject label of text labels.
NO_CLASS = "none of these"
#: Reject label of numeric labels. scikit-learn's outlier detectors use the same number. It is not NaN, because
#: scikit-learn's metrics refuse labels that are NaN.
NO_NUMBER = -1


def choose_reject_label(classes: NDArray[Any], reject_label: Any = None) -> Any:
    """Choose the reject label for the classes of a classifier.

    Parameters
    ----------
    classes : array of shape (n_classes,)
        Class labels.
    reject_label : label, default=None
        Label that the user asks for. None means "none of these" for text and -1 for numbers.

    Returns
    -------
    label
        The reject label.

    Raises
    ------
    ValueError
        If the reject label is one of the classes, or has another type than they have. Boolean classes have no default.

    Examples
    --------
    >>> choose_reject_label(np.array(["dog", "rain"]))
    'none of these'
    >>> choose_reject_label(np.array([0, 1]))
    -1
    """
    if reject_label is None:
        if classes.dtype.kind == "b":
            raise ValueError(
                "boolean labels have no value for a clip without a label: pass a number as reject_label, or fit with "
                "labels that are text or integers"
            )
        reject_label = NO_NUMBER if is_numeric(classes) else NO_CLASS
    elif not isinstance(reject_label, _label_type(classes)):
        wanted = {str: "text", Integral: "an integer", Real: "a number"}[_label_type(classes)]
        raise ValueError(f"reject_label must be {wanted}, as the classes are, got {reject_label!r}")
    if reject_label in classes.tolist():
        raise ValueError(
            f"{reject_label!r} is a class, so it cannot mark a clip without a label: pass another reject_label"
        )
    return reject_label


def put_reject_label(labels: NDArray[Any], is_rejected: NDArray[np.bool_], reject_label: Any) -> NDArray[Any]:
    """Replace the labels of rejected clips, in a dtype that holds the labels and the reject label.

    >>> put_reject_label(np.array(["dog", "rain"]), np.array([False, True]), "none of these")
    array(['dog', 'none of these'], dtype='<U13')
    """
    if labels.dtype.kind in "biu":
        labels = labels.astype(np.int64)
    return np.where(is_rejected, np.asarray(reject_label, dtype=_reject_dtype(labels)), labels)


def warn_if_nothing_is_rejected(reject: float, n_held_out: int) -> None:
    """Warn if no typicality can be as small as ``reject``, because too few support clips were held out.

    >>> warn_if_nothing_is_rejected(0.05, n_held_out=50)
    """
    smallest = 1 / (n_held_out + 1)
    if 0 < reject < smallest:
        warnings.warn(
            f"reject={reject:g} rejects no clip: with {n_held_out} held-out support clips, the smallest possible "
            f"typicality is {smallest:.3f}. Use a larger value, or fit on more support clips",
            UserWarning,
            stacklevel=3,
        )


def is_numeric(labels: NDArray[Any]) -> bool:
    """Return whether labels are numbers or booleans."""
    return labels.dtype.kind in "biuf"


def _label_type(classes: NDArray[Any]) -> Any:
    if not is_numeric(classes):
        return str
    return Real if classes.dtype.kind == "f" else Integral


def _reject_dtype(labels: NDArray[Any]) -> Any:
    """Return the dtype of the reject label; text has no fixed length."""
    return labels.dtype if is_numeric(labels) or labels.dtype.kind == "O" else None
