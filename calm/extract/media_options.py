"""Whether a model is given a clip's sound, its pictures, or both; and how many pictures, how large."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from calm.options import check_values, option

MODALITIES = ("audio", "visual", "audio-visual")

#: What Qwen's models were trained on.
DEFAULT_FPS = 2.0

#: 448², the usual picture of a vision encoder: 256 tokens for every two frames in Qwen2.5-Omni.
DEFAULT_MAX_PIXELS = 448 * 448

#: Of one clip; Qwen's own processors take no more.
MAX_FRAMES = 768

#: No encoder sees anything in less.
_MIN_PIXELS = 28 * 28


@dataclass(frozen=True)
class MediaOptions:
    """What of a clip goes into the model.

    Raises
    ------
    ValueError
        If there is no such modality, pictures could not be taken so, or frames are described where there are none.

    Examples
    --------
    >>> MediaOptions("audio-visual").uses_video, MediaOptions("audio").uses_video, MediaOptions("visual").fps
    (True, False, 2.0)
    """

    panel: ClassVar[str] = "Clips"

    modality: str = option("audio", help="What of a clip goes into the model.", choices=MODALITIES)
    fps: float | None = option(
        None, help="Frames taken of each second of a video; default: 2, where there are pictures."
    )
    max_pixels: int | None = option(
        None, help="Height × width of a frame; larger ones are made smaller; default: 448 × 448."
    )

    def __post_init__(self) -> None:
        check_values(self)
        if not self.uses_video:
            if self.fps is not None or self.max_pixels is not None:
                raise ValueError("fps and max_pixels are of pictures: they go with modality visual or audio-visual")
            return
        object.__setattr__(self, "fps", float(DEFAULT_FPS if self.fps is None else self.fps))
        object.__setattr__(self, "max_pixels", DEFAULT_MAX_PIXELS if self.max_pixels is None else self.max_pixels)
        if not 0 < self.frame_rate < float("inf"):
            raise ValueError(f"fps must be above 0, got {self.fps!r}")
        if self.frame_pixels < _MIN_PIXELS:
            raise ValueError(f"max_pixels must be at least {_MIN_PIXELS}, got {self.max_pixels!r}")

    @property
    def uses_audio(self) -> bool:
        """Whether the sound goes in."""
        return self.modality != "visual"

    @property
    def uses_video(self) -> bool:
        """Whether pictures go in."""
        return self.modality != "audio"

    @property
    def frame_rate(self) -> float:
        """Frames of each second; 0 without pictures."""
        return self.fps or 0.0

    @property
    def frame_pixels(self) -> int:
        """Most pixels of a frame; 0 without pictures."""
        return self.max_pixels or 0

    def picture_bytes(self, seconds: float) -> float:
        """Compute what the pictures of a clip take at most: three colours in float32, 12 bytes a pixel."""
        if not self.uses_video:
            return 0.0
        return 12 * self.frame_pixels * min(max(1.0, seconds * self.frame_rate), MAX_FRAMES)


#: What goes in unless anything else is asked for.
AUDIO_ONLY = MediaOptions()
