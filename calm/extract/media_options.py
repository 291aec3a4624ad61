"""Which media of a clip the model gets: sound, video frames or both, and how many frames of which size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from calm.options import check_values, document_options, option

MODALITIES = ("audio", "visual", "audio-visual")

#: The frame rate in the training of Qwen's models.
DEFAULT_FPS = 2.0

#: 448 × 448 is a usual input size of vision encoders. Qwen2.5-Omni turns two such frames into 256 tokens.
DEFAULT_MAX_PIXELS = 448 * 448

#: Maximum number of frames of a clip; the limit of Qwen's own processors.
MAX_FRAMES = 768

#: Smaller frames are of no use to any vision encoder.
_MIN_PIXELS = 28 * 28


@document_options()
@dataclass(frozen=True)
class MediaOptions:
    """Media of a clip that the model gets: its sound, video frames or both.

    Parameters
    ----------
    {options}

    Raises
    ------
    TypeError
        If an option has the wrong type.
    ValueError
        If the modality is unknown, ``fps`` or ``max_pixels`` is too small, or one of them is given although the
        modality has no video.

    See Also
    --------
    calm.extract.Request : Model, prompt and media options of an extraction.
    calm.extract.decode_clip : Decode the sound and the video frames of a clip.

    Examples
    --------
    >>> media_options = MediaOptions("audio-visual")
    >>> media_options.uses_audio, media_options.uses_video, media_options.fps
    (True, True, 2.0)
    >>> MediaOptions().uses_video
    False
    """

    panel: ClassVar[str] = "Clips"

    modality: str = option(
        "audio",
        help="Media that the model gets: the sound (audio), video frames (visual) or both (audio-visual).",
        choices=MODALITIES,
    )
    fps: float | None = option(
        None, help="Video frames per second that the model gets. By default 2 if the modality includes video."
    )
    max_pixels: int | None = option(
        None, help="Maximum height × width of a video frame; larger frames are scaled down. By default 448 × 448."
    )

    def __post_init__(self) -> None:
        check_values(self)
        if not self.uses_video:
            if self.fps is not None or self.max_pixels is not None:
                raise ValueError("fps and max_pixels apply to video only: use modality visual or audio-visual")
            return
        object.__setattr__(self, "fps", float(DEFAULT_FPS if self.fps is None else self.fps))
        object.__setattr__(self, "max_pixels", DEFAULT_MAX_PIXELS if self.max_pixels is None else self.max_pixels)
        if not 0 < self.frame_rate < float("inf"):
            raise ValueError(f"fps must be above 0, got {self.fps!r}")
        if self.frame_pixels < _MIN_PIXELS:
            raise ValueError(f"max_pixels must be at least {_MIN_PIXELS}, got {self.max_pixels!r}")

    @property
    def uses_audio(self) -> bool:
        """Whether the model gets the sound."""
        return self.modality != "visual"

    @property
    def uses_video(self) -> bool:
        """Whether the model gets video frames."""
        return self.modality != "audio"

    @property
    def frame_rate(self) -> float:
        """Video frames per second; 0 without video."""
        return self.fps or 0.0

    @property
    def frame_pixels(self) -> int:
        """Maximum number of pixels of a video frame; 0 without video."""
        return self.max_pixels or 0

    def frame_bytes(self, seconds: float) -> float:
        """Return the maximum size of a clip's video frames in memory, in bytes.

        A pixel takes 12 bytes: three colour channels in float32.
        """
        if not self.uses_video:
            return 0.0
        return 12 * self.frame_pixels * min(max(1.0, seconds * self.frame_rate), MAX_FRAMES)


#: The default: sound without video.
AUDIO_ONLY = MediaOptions()
