"""Saving and loading of fitted classifiers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from calm.classifiers.file import (
    Header,
    extraction_from_json,
    extraction_to_json,
    labels_from_json,
    labels_to_json,
    write_classifier_file,
)
from calm.classifiers.inputs import (
    is_non_numpy_array,
)
from calm.classifiers.schema import (
    check_arrays,
    learned_arrays,
    values_from_json,
    values_to_json,
)
from calm.classifiers.validation import ValidatedInput
from calm.fit.arrays import to_numpy


class SavedClassifier(ValidatedInput):
    """Base class that saves and loads fitted classifiers.

    ``calm/classifiers/file.py`` describes the file, and ``calm/classifiers/schema.py`` the learned attributes.

    See Also
    --------
    calm.classifiers.base.HeadClassifier : The classifier.
    """

    #: Values of parameters that earlier versions did not have, for files that they wrote.
    earlier_parameters: ClassVar[dict[str, Any]] = {}

    def save(self, path: str | Path) -> None:
        """Save the fitted classifier to a safetensors file with JSON metadata.

        The file is written atomically: it replaces an existing classifier file only once it is complete.

        Parameters
        ----------
        path : str or Path
            File to write. An existing file is replaced only if it is a saved classifier.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the classifier is not fitted.
        TypeError
            If the labels are neither text, numbers nor booleans.
        ValueError
            If a learned attribute contains NaN or infinity, so that the file could not be loaded.
        FileExistsError
            If ``path`` exists and is not a saved classifier.
        OSError
            If the file cannot be written. An existing file is then left unchanged.

        See Also
        --------
        calm.load : Load a saved classifier.

        Examples
        --------
        >>> import tempfile
        >>> import numpy as np
        >>> import calm
        >>> X = np.random.default_rng(0).normal(size=(4, 3, 8))
        >>> clf = calm.NearestMeanClassifier().fit(X, ["dog", "dog", "rain", "rain"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     clf.save(f"{folder}/clf.safetensors")
        ...     calm.load(f"{folder}/clf.safetensors")
        NearestMeanClassifier()
        """
        check_is_fitted(self)
        learned = {name: to_numpy(value) if is_non_numpy_array(value) else value for name, value in vars(self).items()}
        arrays = {name: learned[name] for name in learned_arrays(type(self)) if learned[name] is not None}
        try:
            check_arrays(self, arrays)
        except ValueError as error:
            raise ValueError(f"this {type(self).__name__} cannot be saved: {error}") from error
        names = learned.get("feature_names_in_")
        header = {
            "classifier": type(self).__name__,
            "parameters": self.get_params(),
            **labels_to_json(self.classes_),
            "feature_names": None if names is None else names.tolist(),
            "extraction": None if self.extraction_ is None else extraction_to_json(self.extraction_),
            "learned": values_to_json(type(self), learned),
        }
        write_classifier_file(Path(path), header, arrays)

    @classmethod
    def from_file(cls, header: Header, arrays: dict[str, NDArray[Any]]) -> Self:
        """Rebuild a fitted classifier from the contents of a file.

        Raises
        ------
        ValueError
            If the contents are not a complete and consistent classifier of this class.
        """
        unknown = sorted(header.parameters.keys() - cls().get_params().keys())
        if unknown:
            raise ValueError(f"a {cls.__name__} has no parameter {unknown[0]}")
        classifier = cls(**cls.earlier_parameters | header.parameters)
        classifier._check_parameters()
        classifier.classes_ = labels_from_json(header.classes, header.classes_dtype)
        for name, value in values_from_json(cls, header.learned).items():
            setattr(classifier, name, value)
        check_arrays(classifier, arrays)
        for name in learned_arrays(cls):
            setattr(classifier, name, arrays.get(name))
        if header.feature_names is not None:
            classifier.feature_names_in_ = np.asarray(header.feature_names, dtype=object)
        classifier.extraction_ = None if header.extraction is None else extraction_from_json(header.extraction)
        classifier._check_layers_and_features()
        return classifier

    def _check_layers_and_features(self) -> None:
        """Raise ValueError if the numbers of layers, heads and features in a file are inconsistent."""
        if self.n_heads_in_ % (self.layers_ or 1):
            raise ValueError(f"n_heads_in_ is {self.n_heads_in_}, expected a multiple of layers_ {self.layers_}")
        feature_names = getattr(self, "feature_names_in_", None)
        if feature_names is not None and len(feature_names) != self.n_features_in_:
            raise ValueError(f"feature_names has {len(feature_names)} names, expected {self.n_features_in_}")
        try:
            _ = self.head_names_
        except (ValueError, IndexError, AttributeError) as error:
            raise ValueError(f"extraction does not number {self.layers_} layers: {error}") from error
