"""Videos for Qwen2.5-Omni and Qwen3-Omni, whose tokens of sound and pictures take turns as time goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def omni_inputs(
    processor: Any,
    prompt: str,
    frames: NDArray[np.uint8],
    fps: float,
    max_pixels: int,
    waveform: NDArray[np.float32] | None,
    sampling_rate: int,
    sound: Mapping[str, Any],
) -> Mapping[str, Any]:
    """Make inputs of one clip, whose prompt has one mark of a video.

    Parameters
    ----------
    processor : transformers.ProcessorMixin
    prompt : str
    frames : uint8 array (frames, height, width, 3)
    fps : float
        How many there are in a second.
    max_pixels : int
        Of a frame. Sizes are rounded to whole patches, and nothing is blown up but what is smaller than the smallest
        picture of the checkpoint's own video processor.
    waveform : float32 array (samples,) or None
        The sound of the video, from the same moment on; None for pictures alone.
    sampling_rate : int
        In Hz.
    sound : mapping
        What the feature extractor is told.
    """
    smallest = processor.video_processor.size["shortest_edge"]
    pictures = {
        "fps": fps,
        "size": {"shortest_edge": min(smallest, max_pixels), "longest_edge": max_pixels},
        "do_sample_frames": False,
        "cap_pixels_per_frame": False,
    }
    track: dict[str, Any] = {}
    if waveform is not None:
        track = {"audio": [waveform], "sampling_rate": sampling_rate}
        track |= {"load_audio_from_video": True, "audio_from_video_indices": [0]}
        track |= {"audio_kwargs": dict(sound)} if sound else {}
    return processor(text=[prompt], videos=[frames], videos_kwargs=pictures, return_tensors="pt", **track)


def omni_sound_in_video(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Tell a forward pass that the sound is that of the video, which decides on its positions."""
    return {"use_audio_in_video": True} if {"pixel_values_videos", "input_features"} <= set(inputs) else {}
