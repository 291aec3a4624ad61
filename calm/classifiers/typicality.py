"""Base class of classifiers that reject clips of no known class, by conformal p-values."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, TypeGuard

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from calm.classifiers.base import HeadClassifier
from calm.classifiers.rejection import warn_if_nothing_is_rejected
from calm.classifiers.schema import LearnedArray
from calm.fit.arrays import Array, to_numpy
from calm.fit.checks import check_share


class RejectingClassifier(HeadClassifier):
    """Base class of classifiers that compute how typical clips are of the known classes.

    A subclass sets ``typical_scores_`` in ``fit``.

    Attributes
    ----------
    typical_scores_ : array of float64 of shape (n_held_out,)
        Largest score of each held-out support clip, sorted. Empty if no clip was held out.

    See Also
    --------
    calm.classifiers.base.HeadClassifier : Base class of all classifiers.
    """

    typical_scores_: Annotated[NDArray[np.float64], LearnedArray("n", ascending=True)]

    @abstractmethod
    def _compute_logits(self, scores: Array) -> Array:
        """Return logits before temperature scaling, ``(n, C)``."""

    def predict(self, X: Any, reject: float | None = None, *, reject_label: Any = None) -> NDArray[Any]:
        """Predict the label of each clip, and optionally reject clips of unknown classes.

        Parameters
        ----------
        X : array-like, torch.Tensor or HeadCache
            Head vectors of the clips, in any form that :meth:`fit` accepts.
        reject : float, default=None
            Significance level between 0 and 1. Clips whose :meth:`typicality` is not larger get the label
            ``reject_label``. About this fraction of the clips that do belong to a known class is rejected too. Many
            clips of unknown classes are not rejected; see the notes of :meth:`typicality`. None rejects no clip.
        reject_label : label, default=None
            Label of rejected clips, and of failed clips, whose head vectors are all NaN. It has the type of the
            classes. None means "none of these" for text and -1 for numbers. Boolean classes have no default.

        Returns
        -------
        array of shape (n_clips,)
            Predicted labels. Numeric labels are returned as a tensor on the device of ``X`` if ``X`` is a tensor.

        Raises
        ------
        ValueError
            If ``reject`` is not between 0 and 1, if no support clips were held out during ``fit``, or if the reject
            label is a class or has another type than the classes.

        Warns
        -----
        UserWarning
            If so few support clips were held out that no typicality is as small as ``reject``.

        See Also
        --------
        typicality : Conformal p-value of each clip.

        Examples
        --------
        >>> import numpy as np
        >>> from calm import CALMClassifier
        >>> rng = np.random.default_rng(0)
        >>> X, y = rng.normal(size=(40, 3, 8)), np.repeat([0, 1], 20)
        >>> X[:20, 2, 0] += 9
        >>> X[20:, 2, 1] += 9
        >>> clf = CALMClassifier().fit(X, y)
        >>> unknown = rng.normal(size=(1, 3, 8))
        >>> unknown[:, :, 7] -= 99
        >>> clf.predict(np.concatenate([X[:1], unknown]), reject=0.05)
        array([ 0, -1])
        """
        scores = self._compute_scores(X)
        if reject is None:
            return self._choose_labels(scores, reject_label=reject_label)
        check_share("reject", reject)
        is_rejected = self._compute_typicality(scores) <= reject
        warn_if_nothing_is_rejected(reject, len(self.typical_scores_))
        return self._choose_labels(scores, is_rejected, reject_label=reject_label)

    def typicality(self, X: Any) -> NDArray[np.float64]:
        """Compute how typical each clip is of the known classes, as a conformal p-value.

        The p-value is the fraction of held-out support clips whose largest score is not above that of the clip, the
        clip itself included. A small value means that the clip resembles no known class as much as support clips do.
        A large value does not mean that it belongs to one: noise can resemble a class.

        Parameters
        ----------
        X : array-like, torch.Tensor or HeadCache
            Head vectors of the clips, in any form that :meth:`fit` accepts.

        Returns
        -------
        array of float64 of shape (n_clips,)
            Conformal p-values, above 0 and at most 1. NaN for failed clips, whose head vectors are all NaN.

        Raises
        ------
        ValueError
            If no support clips were held out during ``fit``: every class has a single clip, or there was no
            hyperparameter to choose.

        See Also
        --------
        predict : Predict labels, and reject clips with a small p-value.

        Notes
        -----
        The p-values are approximate, because the held-out clips were scored by classifiers fitted on fewer clips. If
        there are so few groups that far fewer clips were left to fit on, the scores are corrected for it: by the
        difference of the mean largest score between cross-validation with few and with many folds of single clips.

        On head vectors of two real models, about 15 % of the clips of unknown classes had a p-value of at most 0.05
        at 5 shots, and 40 % at 20 shots; ``benchmarks/README.md`` has the tables. Distances to class means, nearest
        neighbours, and outlier detectors of scikit-learn do not separate unknown classes better than the largest
        score does.

        References
        ----------
        .. [1] V. Vovk, A. Gammerman and G. Shafer. Algorithmic Learning in a Random World. Springer, 2005.

        Examples
        --------
        >>> import numpy as np
        >>> from calm import CALMClassifier
        >>> rng = np.random.default_rng(0)
        >>> X, y = rng.normal(size=(40, 3, 8)), np.repeat([0, 1], 20)
        >>> X[:20, 2, 0] += 9
        >>> X[20:, 2, 1] += 9
        >>> clf = CALMClassifier().fit(X, y)
        >>> unknown = rng.normal(size=(1, 3, 8))
        >>> unknown[:, :, 7] -= 99
        >>> bool(clf.typicality(unknown)[0] < clf.typicality(X[:1])[0])
        True
        """
        return self._compute_typicality(self._compute_scores(X))

    def _compute_typicality(self, scores: Array) -> NDArray[np.float64]:
        """Compute conformal p-values from scores ``(n, C)``."""
        if len(self.typical_scores_) == 0:
            raise ValueError(
                "typicality is not available, because fit held no support clips out: "
                "fit with at least two clips per class and calibrate=True"
            )
        best = self._compute_logits(to_numpy(scores)).max(axis=1)
        n_not_above = np.searchsorted(self.typical_scores_, best, side="right")
        typicality = (n_not_above + 1) / (len(self.typical_scores_) + 1)
        return np.where(np.isnan(best), np.nan, typicality)


def supports_rejection(classifier: HeadClassifier) -> TypeGuard[RejectingClassifier]:
    """Return whether a fitted classifier can compute typicality: its class can, and support clips were held out."""
    check_is_fitted(classifier)
    return isinstance(classifier, RejectingClassifier) and len(classifier.typical_scores_) > 0
