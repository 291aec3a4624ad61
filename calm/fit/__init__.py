"""Array functions that turn head vectors and labels into class-conditional head weights and votes.

The functions do not read files, and import neither torch nor scikit-learn. The estimators in :mod:`calm` are built from
them. Use them directly to build your own method.

An ``array`` in a docstring is a numpy array or a torch tensor on any device; results stay on that device. Labels ``y``
are class numbers ``0 … n_classes - 1`` in numpy. Formulas use the symbols of the paper: ``n`` clips, ``K`` heads,
``D`` head dimension and ``C`` classes, with indices ``i`` (clip), ``h`` (head) and ``c`` (class).

Examples
--------
Weigh two heads, of which the first separates the classes, and classify a query:

>>> import numpy as np
>>> from calm.fit import class_means, clip_reliability, cosine_similarity, head_weights, posterior, soft_vote
>>> X = np.array([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]])
>>> y = np.array([0, 1])
>>> prototypes = class_means(X, y, 2)
>>> scores = clip_reliability(cosine_similarity(X, prototypes), y, "margin")
>>> weights = head_weights(class_means(scores, y, 2).T, "margin")
>>> weights
array([[1., 1.],
       [0., 0.]])
>>> query = np.array([[[0.1, 0.9], [1.0, 0.0]]])
>>> soft_vote(posterior(cosine_similarity(query, prototypes), 0.07), weights).argmax(axis=1)
array([1])
"""

from calm.fit.confidence import expected_calibration_error
from calm.fit.folds import assign_folds
from calm.fit.leave_one_out import LeaveOneOutSimilarity, leave_one_out, leave_one_out_similarity
from calm.fit.metric import Metric, oas_shrinkage, whitening
from calm.fit.posterior import cosine_similarity, log_softmax, posterior, softmax, unit_vectors
from calm.fit.reliability import PUBLISHED_SCHEMES, SCHEMES, clip_reliability, score_posterior, shrink_reliability
from calm.fit.ridge import ridge_path, solve_ridge
from calm.fit.sparse_vote import head_hits, nearest_prototype, sparse_vote, top_heads_by_hits, vote_with_tie_break
from calm.fit.specialization import head_recall, head_specialization
from calm.fit.statistics import ClassStatistics, class_counts, class_means, class_statistics, merge_statistics
from calm.fit.support import draw_support, split_by_group
from calm.fit.vote import LinearVoter, SoftVoter, soft_vote
from calm.fit.weights import head_weights

__all__ = [
    "PUBLISHED_SCHEMES",
    "SCHEMES",
    "ClassStatistics",
    "LeaveOneOutSimilarity",
    "LinearVoter",
    "Metric",
    "SoftVoter",
    "assign_folds",
    "class_counts",
    "class_means",
    "class_statistics",
    "clip_reliability",
    "cosine_similarity",
    "draw_support",
    "expected_calibration_error",
    "head_hits",
    "head_recall",
    "head_specialization",
    "head_weights",
    "leave_one_out",
    "leave_one_out_similarity",
    "log_softmax",
    "merge_statistics",
    "nearest_prototype",
    "oas_shrinkage",
    "posterior",
    "ridge_path",
    "score_posterior",
    "shrink_reliability",
    "soft_vote",
    "softmax",
    "solve_ridge",
    "sparse_vote",
    "split_by_group",
    "top_heads_by_hits",
    "unit_vectors",
    "vote_with_tie_break",
    "whitening",
]
