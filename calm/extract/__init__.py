"""Extract the head vectors of clips with a frozen large audio-language model, and store them in a cache.

This package handles models, media and files. Classification is in the rest of :mod:`calm`. A typical use:

>>> from calm.extract import Request, extract_to_cache, find_clips
>>> report = extract_to_cache(find_clips("data/"), "heads.h5", Request(model="qwen2-audio"))  # doctest: +SKIP

``__init__.pyi`` lists the public names. Each is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
