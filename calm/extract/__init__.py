"""A model and clips in, a cache of head vectors out.

Knows models, audio and files; knows nothing of classes or voting. The usual way through:

>>> from calm.extract import Request, extract_to_cache, find_clips
>>> report = extract_to_cache(find_clips("data/"), "heads.h5", Request(model="qwen2-audio"))  # doctest: +SKIP

What is public is listed in ``__init__.pyi``, and imported when it is first needed.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
