"""Dealing support clips into folds by what they are, not by the order they come in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def assign_folds(key: NDArray[np.floating], y: NDArray[np.integer], n_folds: int) -> NDArray[np.int64]:
    """Deal the clips of every class over the folds.

    Equal clips go to one fold, so that none is predicted from its own copy. Neither the order of clips nor the names of
    classes matter.

    Parameters
    ----------
    key : array (n,)
        A number that tells clips apart.
    y : array of int (n,)
    n_folds : int

    Returns
    -------
    array of int (n,)
        Number of the fold; −1 for clips of a class that has no two different ones, which are in no fold.

    Examples
    --------
    >>> assign_folds(np.array([0.1, 0.2, 0.2, 0.5, 0.7]), np.array([0, 0, 0, 1, 2]), 2)
    array([ 0,  1,  1, -1, -1])
    """
    folds = np.full(len(y), -1)
    classes = np.unique(y)
    first = [key[y == c].min() for c in classes]
    for start, c in enumerate(classes[np.argsort(first, kind="stable")]):
        own = np.flatnonzero(y == c)
        distinct, rank = np.unique(key[own], return_inverse=True)
        if len(distinct) > 1:
            # Classes begin at different folds: where shots are few, a fold takes from few classes at once.
            folds[own] = (rank + start * len(distinct)) % n_folds
    return folds
