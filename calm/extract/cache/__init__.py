"""The head cache: one HDF5 file."""
