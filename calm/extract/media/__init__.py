"""Find clips, read manifests, and decode audio and video."""
