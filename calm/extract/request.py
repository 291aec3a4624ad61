"""What is asked for: all that is needed to extract further clips in the same way."""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Self

import msgspec

from calm.extract.media_options import MediaOptions
from calm.extract.models.placement import LoadOptions, Placement
from calm.extract.prompt import QUESTIONS, Prompt
from calm.options import check_names, check_values, copy_option, document_options, option, option_values, options_of

if TYPE_CHECKING:
    from calm.extract.models.lalm import LALM


#: No prompt has more tokens.
_MOST_TOKENS = 10**6
#: In seconds; a limit beyond it is none.
_FOR_EVER = 1e8


@document_options()
@dataclass(frozen=True, init=False)
class Request:
    """Which model is asked what, about what of a clip.

    Its parts are given whole, or by their options side by side.

    Parameters
    ----------
    prompt : Prompt, default=Prompt()
    media_options : MediaOptions, default=MediaOptions()
    placement : Placement, default=Placement()
        Where the model runs. It is neither compared nor stored.
    {options}

    Raises
    ------
    TypeError
        If there is no such option, it is of another type, or a part is given whole and by an option too.
    ValueError
        If an option has a value that it cannot have.

    Examples
    --------
    >>> request = Request("qwen2.5-omni", modality="audio-visual", device="cpu")
    >>> request == Request("qwen2.5-omni", media_options=MediaOptions("audio-visual"))
    True
    >>> request.prompt.question
    'What is seen and heard in this video?'
    """

    panel: ClassVar[str] = "Model"

    model: str = option(help="An alias (calm models lists them), a hub id, or a local folder.", flags=("--model", "-m"))
    prompt: Prompt = field(default_factory=Prompt)
    media_options: MediaOptions = field(default_factory=MediaOptions)
    tokens: int = option(
        1, help="1 records the last token of the prompt, m the mean over the last m.", minimum=1, maximum=_MOST_TOKENS
    )
    max_seconds: float | None = option(
        None, help="Clips are cut there; default: at the end of the model's window.", minimum=0.1
    )
    revision: str | None = copy_option(LoadOptions, "revision")
    dtype: str | None = copy_option(LoadOptions, "dtype")
    quantize: str | None = copy_option(LoadOptions, "quantize")
    placement: Placement = field(default_factory=Placement, compare=False)

    def __init__(
        self,
        model: str,
        *,
        prompt: Prompt | None = None,
        media_options: MediaOptions | None = None,
        placement: Placement | None = None,
        **options: Any,
    ) -> None:
        check_names(Request, options)
        values: dict[str, Any] = {"model": model}
        for name, group, part in (
            ("prompt", Prompt, prompt),
            ("media_options", MediaOptions, media_options),
            ("placement", Placement, placement),
        ):
            own = {option: options[option] for option in options_of(group) if option in options}
            if part is not None and own:
                raise TypeError(f"give {name} whole, or {', '.join(own)}, not both")
            values[name] = group(**own) if part is None else part
        for declared in fields(self):
            if declared.name not in values:
                values[declared.name] = options.get(declared.name, declared.default)
        for name, value in values.items():
            object.__setattr__(self, name, value)
        check_values(self)
        self._resolve()

    def _resolve(self) -> None:
        """Fill in what follows from the rest."""
        if self.max_seconds is not None and not self.max_seconds <= _FOR_EVER:  # no limit but the window's
            object.__setattr__(self, "max_seconds", None)
        if self.prompt.question is None:
            object.__setattr__(self, "prompt", replace(self.prompt, question=QUESTIONS[self.media_options.modality]))

    def load(self) -> LALM:
        """Load the model; see :func:`calm.extract.load_lalm`."""
        from calm.extract.models.loading import load_lalm

        how = {option: getattr(self, option) for option in options_of(LoadOptions)}
        return load_lalm(self.model, **how, **option_values(self.placement))

    def changed(self, **options: Any) -> Self:
        """Return this request with other values of some options, those of its parts among them.

        With another modality, the usual question becomes that of the modality, and frames are taken as usual.
        """
        known = option_values(self)
        if options.get("modality", known["modality"]) != known["modality"]:
            known |= {"fps": None, "max_pixels": None}
            if known["question"] == QUESTIONS[known["modality"]]:
                known["question"] = None
        return type(self)(**(known | options))

    @property
    def options(self) -> dict[str, Any]:
        """The options that decide on head vectors, by name: all but those of the placement."""
        return {name: value for name, value in option_values(self).items() if name not in options_of(Placement)}

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
            return cls(**msgspec.structs.asdict(msgspec.convert(options, type=_stored_options())))
        except (ValueError, TypeError) as error:  # msgspec's are ValueErrors
            raise ValueError(f"its request cannot be read: {error}") from error


@cache
def _stored_options() -> type[msgspec.Struct]:
    """Make the schema of a stored request: its options side by side, of which those that came later may be missing."""
    declared = [one for name, one in options_of(Request).items() if name not in options_of(Placement)]
    entries = [(one.name, one.type, msgspec.NODEFAULT if one.default is MISSING else one.default) for one in declared]
    return msgspec.defstruct("StoredRequest", entries, forbid_unknown_fields=True)
