"""Video inputs of Qwen2.5-Omni and Qwen3-Omni, which interleave audio tokens and frame tokens in time."""

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
    audio_kwargs: Mapping[str, Any],
) -> Mapping[str, Any]:
    """Build the model inputs of one clip with video.

    Parameters
    ----------
    processor : transformers.ProcessorMixin
        Processor of the model.
    prompt : str
        Rendered prompt with one video placeholder.
    frames : uint8 array of shape (n_frames, height, width, 3)
        Video frames, RGB.
    fps : float
        Frames per second.
    max_pixels : int
        Maximum of height × width of a frame. Sizes are rounded to whole patches. Only frames below the minimum size of
        the checkpoint's video processor are enlarged.
    waveform : float32 array of shape (n_samples,) or None
        Audio track of the video, with the same start. None for video without audio.
    sampling_rate : int
        Sampling rate in Hz.
    audio_kwargs : mapping
        Arguments of the feature extractor.
    """
    min_pixels = processor.video_processor.size["shortest_edge"]
    videos_kwargs = {
        "fps": fps,
        "size": {"shortest_edge": min(min_pixels, max_pixels), "longest_edge": max_pixels},
        "do_sample_frames": False,
        "cap_pixels_per_frame": False,
    }
    audio: dict[str, Any] = {}
    if waveform is not None:
        audio = {"audio": [waveform], "sampling_rate": sampling_rate}
        audio |= {"load_audio_from_video": True, "audio_from_video_indices": [0]}
        audio |= {"audio_kwargs": dict(audio_kwargs)} if audio_kwargs else {}
    return processor(text=[prompt], videos=[frames], videos_kwargs=videos_kwargs, return_tensors="pt", **audio)


def omni_sound_in_video(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the forward argument that gives audio tokens the positions of the video; empty without both."""
    return {"use_audio_in_video": True} if {"pixel_values_videos", "input_features"} <= set(inputs) else {}
