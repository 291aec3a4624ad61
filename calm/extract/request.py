"""What is asked for: all that is needed to extract further clips in the same way."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import msgspec

from calm.extract.models.placement import Placement
from calm.extract.prompt import QUESTIONS, Prompt
from calm.extract.senses import Senses
from calm.options import make_group, option, values_of

if TYPE_CHECKING:
    from calm.extract.models.lalm import LALM


@dataclass(frozen=True)
class Request:
    """Which model is asked what, about what of a clip.

    :meth:`of` takes the options of the prompt, the senses and the placement side by side.

    Examples
    --------
    >>> Request("qwen2.5-omni", senses=Senses("audio-visual")).prompt.question
    'What is seen and heard in this video?'
    >>> Request.of("qwen2.5-omni", modality="audio-visual") == Request("qwen2.5-omni", senses=Senses("audio-visual"))
    True
    """

    panel: ClassVar[str] = "Model"

    model: str = option(
        about="An alias (calm models lists them), a hub id, or a local folder.", flags=("--model", "-m")
    )
    prompt: Prompt = field(default_factory=Prompt)
    senses: Senses = field(default_factory=Senses)
    tokens: int = option(1, about="1 records the last token of the prompt, m the mean over the last m.", least=1)
    max_seconds: float | None = option(
        None, about="Clips are cut there; default: at the end of the model's window.", least=0.1
    )
    revision: str | None = option(None, about="Branch, tag or commit of a hub model.")
    dtype: str | None = option(
        None,
        about="Precision of the computation: float32, bfloat16 or float16; default: by the device.",
        choices=("float32", "bfloat16", "float16"),
    )
    quantize: str | None = option(
        None,
        about="int8 or nf4: weights of linear layers in 8 or 4 bits, which take less memory (extra quantize).",
        choices=("int8", "nf4"),
    )
    placement: Placement = field(default_factory=Placement, compare=False)

    def __post_init__(self) -> None:
        if self.max_seconds == math.inf:  # no limit but the window's
            object.__setattr__(self, "max_seconds", None)
        if self.prompt.question is None:
            asked = replace(self.prompt, question=QUESTIONS[self.senses.modality])
            object.__setattr__(self, "prompt", asked)

    @classmethod
    def of(cls, model: str, **options: Any) -> Self:
        """Make a request from options side by side, those of its parts among them.

        Parameters
        ----------
        model : str
        **options
            Of :class:`Request`, :class:`calm.extract.Prompt`, :class:`calm.extract.Senses` and
            :class:`calm.extract.Placement`.

        Raises
        ------
        TypeError
            If there is no such option.
        ValueError
            If an option has a value that it cannot have.
        """
        return make_group(cls, {"model": model, **options})

    def load(self) -> LALM:
        """Load the model; see :func:`calm.extract.load_lalm`."""
        from calm.extract.models.loading import load_lalm

        where = values_of(self.placement)
        return load_lalm(self.model, revision=self.revision, dtype=self.dtype, quantize=self.quantize, **where)

    def changed(self, **options: Any) -> Self:
        """Return this request with other values of some options, those of its parts among them."""
        return make_group(type(self), {**values_of(self), **options})

    @property
    def options(self) -> dict[str, Any]:
        """The options that decide on head vectors, by name: all but those of the placement."""
        placed = values_of(self.placement)
        return {name: value for name, value in values_of(self).items() if name not in placed}

    def to_json(self) -> str:
        """Write down the options that decide on head vectors. The placement is not written: it is the machine's."""
        return json.dumps(self.options, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what :meth:`to_json` wrote.

        Raises
        ------
        ValueError
            If it is something else.
        """
        try:
            return cls.from_stored(json.loads(text))  # Python's parser reads the Infinity that earlier versions wrote
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"its request cannot be read: {error}") from error

    @classmethod
    def from_stored(cls, options: Any) -> Self:
        """Make a request from options that come from a file: a file can choose no device, nor let remote code run.

        Raises
        ------
        ValueError
            If they are not the options that :attr:`options` has, each of its type.
        """
        try:
            return make_group(cls, msgspec.structs.asdict(msgspec.convert(options, type=_Options)))
        except ValueError as error:  # msgspec's are such
            raise ValueError(f"its request cannot be read: {error}") from error


class _Options(msgspec.Struct, forbid_unknown_fields=True):
    """A request as it is stored, side by side; options that came later may be missing."""

    model: str
    revision: str | None = None
    dtype: str | None = None
    quantize: str | None = None
    template: str = Prompt.template
    question: str | None = None
    modality: str = "audio"
    fps: float | None = None
    max_pixels: int | None = None
    tokens: int = 1
    max_seconds: float | None = None
