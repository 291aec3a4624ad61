"""calm: a frozen large audio-language model as a few-shot audio classifier.

>>> from calm import CALMClassifier, HeadExtractor

What is public is listed in ``__init__.pyi``, and imported when it is first needed: whatever is heavy (torch,
transformers, scikit-learn) waits until then.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
