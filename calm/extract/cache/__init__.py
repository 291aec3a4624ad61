"""The head cache: one HDF5 file, whose format :mod:`calm.extract.cache.layout` describes."""
