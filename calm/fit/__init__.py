"""Head vectors and labels in, class-conditional head weights and votes out.

Pure array mathematics on numpy arrays or torch tensors (which stay where they are): no files, no torch import, no
scikit-learn classes. The estimators in :mod:`calm` are thin wrappers round these functions; use them directly to build
a method of your own.

Symbols, as in the paper: ``n`` clips, ``K`` heads, ``D`` head dimension, ``C`` classes. Labels are class
numbers ``0 … C-1``.
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
