"""The head cache: one HDF5 file, in the format that :mod:`calm.extract.cache.layout` describes."""
