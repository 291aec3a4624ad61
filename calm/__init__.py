"""calm turns a frozen large audio-language model into a few-shot audio classifier.

>>> from calm import CALMClassifier, HeadExtractor

``__init__.pyi`` lists the public names. Each is imported when it is first used, so that ``import calm`` does not load
torch, transformers or scikit-learn.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
