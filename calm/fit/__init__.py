"""Head vectors and labels in, class-conditional head weights and votes out.

Pure array mathematics on numpy arrays: no files, no torch, no scikit-learn classes. The estimators in
:mod:`calm` are thin wrappers round these functions; use them directly to build a method of your own.

Symbols, as in the paper: ``n`` clips, ``K`` heads, ``D`` head dimension, ``C`` classes. Labels are class
numbers ``0 … C-1``.
"""

from calm.fit.posterior import cosine_similarity, posterior, unit_vectors
from calm.fit.prototypes import class_counts, class_means, class_sums, leave_one_out_similarity
from calm.fit.reliability import SCHEMES, clip_reliability, shrink_reliability
from calm.fit.sparse_vote import head_hits, nearest_prototype, sparse_vote, top_heads_by_hits
from calm.fit.support import draw_support, split_by_group
from calm.fit.vote import soft_vote
from calm.fit.weights import head_weights

__all__ = [
    "SCHEMES",
    "class_counts",
    "class_means",
    "class_sums",
    "clip_reliability",
    "cosine_similarity",
    "draw_support",
    "head_hits",
    "head_weights",
    "leave_one_out_similarity",
    "nearest_prototype",
    "posterior",
    "shrink_reliability",
    "soft_vote",
    "sparse_vote",
    "split_by_group",
    "top_heads_by_hits",
    "unit_vectors",
]
