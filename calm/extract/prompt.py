"""What the model is asked about each clip."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from calm.options import check_values, option

#: Asked by modality, where neither the user nor the clip has a question.
QUESTIONS = {
    "audio": "What is the sound in this audio clip?",
    "visual": "What is shown in this video?",
    "audio-visual": "What is seen and heard in this video?",
}

DEFAULT_QUESTION = QUESTIONS["audio"]

#: In characters, of the text that is asked beside a clip: all labels of AudioSet are a third of that.
MAX_TEXT_LENGTH = 2**15


@dataclass(frozen=True)
class Prompt:
    """The text that goes beside the sound, before the model's chat template is put round both.

    Raises
    ------
    ValueError
        If the template holds anything else than ``{question}`` and ``{options}``.

    Examples
    --------
    >>> Prompt().text()
    'What is the sound in this audio clip?'
    >>> Prompt("{question} Choose from: {options}.").text("Which animal?", ["cat", "dog"])
    'Which animal? Choose from: cat, dog.'
    """

    panel: ClassVar[str] = "Prompt"

    template: str = option("{question}", help="The text beside the sound, with {question} and {options}.")
    question: str | None = option(
        None, help="Asked of clips that have no question of their own; default: what is heard, or seen."
    )

    def __post_init__(self) -> None:
        check_values(self)
        try:
            parts = [part for part in string.Formatter().parse(self.template) if part[1] is not None]
        except ValueError as error:
            raise ValueError(f"prompt template {self.template!r}: {error}") from error
        if any(spec or conversion for _, _, spec, conversion in parts):
            raise ValueError(f"prompt template {self.template!r}: {{question}} and {{options}} take no format")
        unknown = {str(field) for _, field, _, _ in parts} - {"question", "options"}
        if unknown:
            named = ", ".join("{" + field + "}" for field in sorted(unknown))
            raise ValueError(f"prompt template {self.template!r} holds {named}; only {{question}} and {{options}} fill")

    @property
    def needs_options(self) -> bool:
        """Whether the template names ``{options}``."""
        return any(field == "options" for _, field, _, _ in string.Formatter().parse(self.template))

    def text(self, question: str | None = None, options: Sequence[str] | str | None = None) -> str:
        """Fill the template for one clip.

        Parameters
        ----------
        question : str, default=None
            The clip's own; the prompt's otherwise.
        options : sequence of str, or str, default=None
            Answers to choose from, joined by commas.

        Raises
        ------
        ValueError
            If the template needs options and there are none.
        """
        if self.needs_options and not options:
            raise ValueError(f"prompt template {self.template!r} needs options, and this clip has none")
        joined = options if isinstance(options, str) else ", ".join(options or ())
        return self.template.format(question=question or self.question or DEFAULT_QUESTION, options=joined)
