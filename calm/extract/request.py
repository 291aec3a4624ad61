"""What was asked for, and what it turned out to be: the identity of head vectors."""

from __future__ import annotations

from dataclasses import dataclass, fields

from calm.extract.prompt import Prompt


@dataclass(frozen=True)
class Request:
    """What was asked for: all that is needed to extract further clips in the same way."""

    model: str  #: alias, hub id or local folder
    revision: str | None = None  #: branch, tag or commit of a hub checkpoint
    dtype: str | None = None  #: of the computation; None takes float32 on a CPU, the checkpoint's own elsewhere
    template: str = Prompt.template  #: with {question} and {options}
    question: str = Prompt.question  #: for clips without one of their own
    tokens: int = 1  #: 1 is the last token of the prompt, m the mean over the last m
    max_seconds: float | None = None  #: clips are cut there; None takes the model's window

    @property
    def prompt(self) -> Prompt:
        """Template and question together."""
        return Prompt(self.template, self.question)


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
