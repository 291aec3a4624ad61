"""Whether a model is given a clip's sound, its pictures, or both; and how many pictures, how large."""

from __future__ import annotations

from dataclasses import dataclass

MODALITIES = ("audio", "visual", "audio-visual")

#: What Qwen's models were trained on.
DEFAULT_FPS = 2.0

#: 448², the usual picture of a vision encoder: 256 tokens for every two frames in Qwen2.5-Omni.
DEFAULT_MAX_PIXELS = 448 * 448

#: Of one clip; Qwen's own processors take no more.
MOST_FRAMES = 768

#: No encoder sees anything in less.
_MIN_PIXELS = 28 * 28


@dataclass(frozen=True)
class Senses:
    """What of a clip goes into the model.

    Raises
    ------
    ValueError
        If there is no such modality, or pictures could not be taken so.

    Examples
    --------
    >>> Senses("audio-visual").sees, Senses("audio").sees
    (True, False)
    """

    modality: str = "audio"  #: "audio", "visual" or "audio-visual"
    fps: float = DEFAULT_FPS  #: frames taken of each second of a video
    max_pixels: int = DEFAULT_MAX_PIXELS  #: height × width of a frame; larger ones are made smaller

    def __post_init__(self) -> None:
        if self.modality not in MODALITIES:
            raise ValueError(f"modality must be audio, visual or audio-visual, got {self.modality!r}")
        if not 0 < self.fps < float("inf"):
            raise ValueError(f"fps must be above 0, got {self.fps!r}")
        if self.max_pixels < _MIN_PIXELS:
            raise ValueError(f"max_pixels must be at least {_MIN_PIXELS}, got {self.max_pixels!r}")

    @property
    def hears(self) -> bool:
        """Whether the sound goes in."""
        return self.modality != "visual"

    @property
    def sees(self) -> bool:
        """Whether pictures go in."""
        return self.modality != "audio"

    def picture_bytes(self, seconds: float) -> float:
        """Tell what the pictures of a clip take at most: three colours in float32, 12 bytes a pixel."""
        return 12 * self.max_pixels * min(max(1.0, seconds * self.fps), MOST_FRAMES) if self.sees else 0.0


#: What goes in unless anything else is asked for.
SOUND_ALONE = Senses()
