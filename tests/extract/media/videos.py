"""Write test videos with known frames, using PyAV."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

RATE = 16000


def numbered_frames(n: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """Make uniform grey frames, each 4 levels brighter than the one before."""
    greys = (20 + 4 * np.arange(n)).astype(np.uint8)
    return np.broadcast_to(greys[:, None, None, None], (n, height, width, 3)).copy()


def numbers_of(frames: NDArray[np.uint8]) -> list[int]:
    """Return the numbers of frames made by ``numbered_frames``."""
    return [round((float(frame.mean()) - 20) / 4) for frame in frames]


def write_video(
    path: Path,
    frames: NDArray[np.uint8] | None,
    fps: int = 10,
    wave: NDArray[np.float32] | None = None,
    *,
    codec: str = "ffv1",
    sound_codec: str = "pcm_s16le",
    sound_begins: float = 0.0,
    title: str | None = None,
) -> Path:
    """Write frames (n, height, width, 3), 16 kHz samples (n,) or (n, channels), or both into a container."""
    with av.open(str(path), "w") as container:
        if title is not None:
            container.metadata["title"] = title
        if frames is not None:
            video_stream = container.add_stream(codec, rate=fps)
            video_stream.height, video_stream.width = frames.shape[1:3]
            video_stream.pix_fmt = "bgr0" if codec == "ffv1" else "yuv420p"
        if wave is not None:
            samples = wave if wave.ndim == 2 else wave[:, None]
            layout = "mono" if samples.shape[1] == 1 else "stereo"
            audio_stream = container.add_stream(sound_codec, rate=RATE, layout=layout)
        if frames is not None:
            for frame in frames:
                for packet in video_stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")):
                    container.mux(packet)
            for packet in video_stream.encode(None):
                container.mux(packet)
        if wave is not None:
            integers = np.round(samples * 32767).clip(-32768, 32767).astype(np.int16)
            step = 1024
            for first in range(0, len(integers), step):
                block = np.ascontiguousarray(integers[first : first + step].reshape(1, -1))
                frame = av.AudioFrame.from_ndarray(block, format="s16", layout=layout)
                frame.sample_rate, frame.pts = RATE, first + round(sound_begins * RATE)
                for packet in audio_stream.encode(frame):
                    container.mux(packet)
            for packet in audio_stream.encode(None):
                container.mux(packet)
    return path
