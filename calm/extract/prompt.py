"""The prompt text of each clip, built from its question and answer options."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from calm.options import check_values, document_options, option

#: Default question of each modality, for clips without a question when the user gives none.
QUESTIONS = {
    "audio": "What is the sound in this audio clip?",
    "visual": "What is shown in this video?",
    "audio-visual": "What is seen and heard in this video?",
}

DEFAULT_QUESTION = QUESTIONS["audio"]

#: Template that names the answer options, for instruction-tuned models. The default of zero-shot classification.
OPTIONS_TEMPLATE = "{question} Choose from: {options}."

#: Maximum length of a clip's prompt in characters. The labels of AudioSet together need a third of it.
MAX_TEXT_LENGTH = 2**15


@document_options()
@dataclass(frozen=True)
class Prompt:
    """Prompt template that builds the prompt text of each clip, before the model's chat template is applied.

    Parameters
    ----------
    {options}

    Raises
    ------
    ValueError
        If the template contains a replacement field other than ``{question}`` and ``{options}``.

    See Also
    --------
    calm.extract.Request : Model, prompt and media options of an extraction.
    calm.extract.prompt_texts : Write the prompts of all clips.

    Examples
    --------
    >>> Prompt().text()
    'What is the sound in this audio clip?'
    >>> Prompt("{question} Choose from: {options}.").text("Which animal?", ["cat", "dog"])
    'Which animal? Choose from: cat, dog.'
    """

    panel: ClassVar[str] = "Prompt"

    template: str = option(
        "{question}", help="Prompt template; {question} and {options} stand for the question and the answer options."
    )
    question: str | None = option(
        None, help="Question for clips without their own question. By default a general question for the modality."
    )

    def __post_init__(self) -> None:
        check_values(self)
        try:
            fields = [part for part in string.Formatter().parse(self.template) if part[1] is not None]
        except ValueError as error:
            raise ValueError(f"prompt template {self.template!r}: {error}") from error
        if any(spec or conversion for _, _, spec, conversion in fields):
            raise ValueError(
                f"prompt template {self.template!r}: {{question}} and {{options}} take no format specification"
            )
        unknown = {str(name) for _, name, _, _ in fields} - {"question", "options"}
        if unknown:
            unknown_fields = ", ".join("{" + name + "}" for name in sorted(unknown))
            raise ValueError(
                f"prompt template {self.template!r} contains {unknown_fields}: use only {{question}} and {{options}}"
            )

    @property
    def needs_options(self) -> bool:
        """Whether the template contains ``{options}``."""
        return any(name == "options" for _, name, _, _ in string.Formatter().parse(self.template))

    def text(self, question: str | None = None, options: Sequence[str] | str | None = None) -> str:
        """Build the prompt text of one clip.

        Parameters
        ----------
        question : str, default=None
            Question about the clip. None means the question of this prompt.
        options : sequence of str, or str, default=None
            Answer options. A sequence is joined by commas.

        Returns
        -------
        str
            The prompt text.

        Raises
        ------
        ValueError
            If the template contains ``{options}`` and there are none.
        """
        if self.needs_options and not options:
            raise ValueError(f"prompt template {self.template!r} needs answer options, but the clip has none")
        joined = options if isinstance(options, str) else ", ".join(options or ())
        return self.template.format(question=question or self.question or DEFAULT_QUESTION, options=joined)
