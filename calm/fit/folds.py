"""Cross-validation folds of support clips that depend on the clips and not on their order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def assign_folds(key: NDArray[np.floating], y: NDArray[np.integer], n_folds: int) -> NDArray[np.int64]:
    """Assign support clips to cross-validation folds, stratified by class.

    Clips of a class with equal keys share a fold, so that no clip is predicted from its own copy. The folds depend
    neither on the order of the clips nor on the order of the classes.

    Parameters
    ----------
    key : array of shape (n_clips,)
        Number that is equal for identical clips and differs between other clips.
    y : array of int of shape (n_clips,)
        Class number of each clip.
    n_folds : int
        Number of folds.

    Returns
    -------
    array of int of shape (n_clips,)
        Fold number of each clip. It is −1 (no fold) for classes without two different clips.

    See Also
    --------
    calm.fit.draw_support : Split clips into a support set and queries.
    calm.fit.leave_one_out : Leave out single clips in closed form.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.fit import assign_folds
    >>> assign_folds(np.array([0.1, 0.2, 0.2, 0.5, 0.7]), np.array([0, 0, 0, 1, 2]), 2)
    array([ 0,  1,  1, -1, -1])
    """
    folds = np.full(len(y), -1)
    classes = np.unique(y)
    smallest_keys = [key[y == c].min() for c in classes]
    for position, c in enumerate(classes[np.argsort(smallest_keys, kind="stable")]):
        members = np.flatnonzero(y == c)
        distinct, rank = np.unique(key[members], return_inverse=True)
        if len(distinct) > 1:
            # Classes start at different folds: with few shots, a fold then holds out clips of few classes.
            folds[members] = (rank + position * len(distinct)) % n_folds
    return folds
