"""What was asked for, and what it turned out to be: the identity of head vectors."""

from __future__ import annotations

from dataclasses import dataclass, fields

from calm.extract.prompt import QUESTIONS, Prompt
from calm.extract.senses import DEFAULT_FPS, DEFAULT_MAX_PIXELS, Senses


@dataclass(frozen=True)
class Request:
    """What was asked for: all that is needed to extract further clips in the same way.

    Raises
    ------
    ValueError
        If there is no such modality, or frames are described for one without pictures.

    Examples
    --------
    >>> Request(model="qwen2.5-omni", modality="audio-visual").fps
    2.0
    """

    model: str  #: alias, hub id or local folder
    revision: str | None = None  #: branch, tag or commit of a hub checkpoint
    dtype: str | None = None  #: of the computation; None takes what :func:`calm.extract.load_lalm` does
    template: str = Prompt.template  #: with {question} and {options}
    question: str | None = None  #: for clips without one of their own; what is heard or seen unless given
    tokens: int = 1  #: 1 is the last token of the prompt, m the mean over the last m
    max_seconds: float | None = None  #: clips are cut there; None takes the model's window
    modality: str = "audio"  #: what of a clip goes into the model: "audio", "visual" or "audio-visual"
    fps: float | None = None  #: frames of each second of a video; None takes 2 where there are pictures
    max_pixels: int | None = None  #: height × width of a frame; None takes 448 × 448 where there are pictures
    quantize: str | None = None  #: "int8" or "nf4": weights of linear layers in fewer bits

    def __post_init__(self) -> None:
        senses = Senses(self.modality)
        if senses.sees:
            object.__setattr__(self, "fps", float(DEFAULT_FPS if self.fps is None else self.fps))
            object.__setattr__(self, "max_pixels", DEFAULT_MAX_PIXELS if self.max_pixels is None else self.max_pixels)
            _ = self.senses
        elif self.fps is not None or self.max_pixels is not None:
            raise ValueError("fps and max_pixels are of pictures: they go with modality visual or audio-visual")
        if self.question is None:
            object.__setattr__(self, "question", QUESTIONS[self.modality])

    @property
    def senses(self) -> Senses:
        """What of a clip goes into the model."""
        if self.fps is None or self.max_pixels is None:
            return Senses(self.modality)
        return Senses(self.modality, self.fps, self.max_pixels)

    @property
    def prompt(self) -> Prompt:
        """Template and question together."""
        return Prompt(self.template, QUESTIONS[self.modality] if self.question is None else self.question)


@dataclass(frozen=True)
class Fingerprint:
    """All that changes a head vector, as found out when the model was loaded.

    Vectors of different fingerprints must not be mixed: not in one cache, nor in fitting and predicting.
    """

    weights: str  #: digest of the model's weights
    processor: str  #: digest of how the processor turns sound and text into inputs
    dtype: str  #: of the computation
    prompt: str  #: rendered, with the model's chat template
    tokens: int  #: how many last tokens are averaged
    sampling_rate: int  #: Hz
    max_seconds: float  #: clips were cut there; infinity for no limit
    modality: str = "audio"  #: what of them went in
    fps: float = 0.0  #: frames of each second; 0 without pictures
    max_pixels: int = 0  #: of a frame; 0 without pictures
    quantize: str = ""  #: weights of linear layers in fewer bits; empty for those of the checkpoint
    layers: str = ""  #: numbers of the decoder's layers with attention, where others have none; empty for all

    def number_of(self, layer: int) -> int:
        """Tell which layer of the decoder a layer of head vectors is; not the same for hybrids."""
        return int(self.layers.split()[layer]) if self.layers else layer

    def check_same(self, other: Fingerprint, mine: str, theirs: str) -> None:
        """Refuse another fingerprint.

        Raises
        ------
        ValueError
            Naming what differs, where each side is called ``mine`` and ``theirs``.
        """
        differences = [
            f"{f.name} ({getattr(self, f.name)!r} in {mine}, {getattr(other, f.name)!r} in {theirs})"
            for f in fields(self)
            if getattr(self, f.name) != getattr(other, f.name)
        ]
        if differences:
            raise ValueError(
                f"head vectors of {mine} and {theirs} cannot be mixed: they differ in {'; '.join(differences)}"
            )


@dataclass(frozen=True)
class Extraction:
    """How the head vectors that a classifier was fitted on were made: enough to make more of them."""

    request: Request  #: with revision and dtype as they turned out
    fingerprint: Fingerprint
    text: str | None  #: what the model was asked beside every clip; None where that differed

    def check_same(self, other: Extraction, mine: str, theirs: str) -> None:
        """Refuse head vectors that were made in another way, or asked another question.

        Raises
        ------
        ValueError
            Naming what differs, where each side is called ``mine`` and ``theirs``.
        """
        self.fingerprint.check_same(other.fingerprint, mine, theirs)
        if None not in (self.text, other.text) and self.text != other.text:
            raise ValueError(
                f"head vectors of {mine} and {theirs} cannot be mixed: clips were asked {self.text!r} in {mine}, "
                f"{other.text!r} in {theirs}"
            )
