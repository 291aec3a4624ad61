"""The request: all options needed to extract head vectors of more clips in the same way."""

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
_MAX_TOKENS = 10**6
#: A longer limit, in seconds, means no limit.
_UNLIMITED_SECONDS = 1e8


@document_options()
@dataclass(frozen=True, init=False)
class Request:
    """Options that determine how head vectors are extracted: model, prompt and media options.

    Give the options of the prompt, the media and the placement one by one, or as :class:`Prompt`,
    :class:`MediaOptions` and :class:`Placement`.

    Parameters
    ----------
    {options}
    prompt : Prompt, default=Prompt()
        Prompt of each clip.
    media_options : MediaOptions, default=MediaOptions()
        Media of a clip that the model gets.
    placement : Placement, default=Placement()
        Where the model runs. It is neither compared nor stored.

    Raises
    ------
    TypeError
        If an option is unknown or has the wrong type, or is given both by itself and as part of a group.
    ValueError
        If the value of an option is not allowed.

    See Also
    --------
    calm.extract_to_cache : Extract head vectors into a cache.
    calm.HeadExtractor : Extract head vectors as a step of a scikit-learn pipeline.
    calm.load_lalm : Load a model without a request.

    Examples
    --------
    >>> request = Request("qwen2.5-omni", modality="audio-visual", device="cpu")
    >>> request == Request("qwen2.5-omni", media_options=MediaOptions("audio-visual"))
    True
    >>> request.prompt.question
    'What is seen and heard in this video?'
    """

    panel: ClassVar[str] = "Model"

    model: str = option(
        help="Alias (calm models lists them), Hugging Face Hub id or local folder of the model.",
        flags=("--model", "-m"),
    )
    prompt: Prompt = field(default_factory=Prompt)
    media_options: MediaOptions = field(default_factory=MediaOptions)
    tokens: int = option(
        1,
        help="Number of last prompt tokens over which head vectors are averaged; 1 means only the last token.",
        minimum=1,
        maximum=_MAX_TOKENS,
    )
    max_seconds: float | None = option(
        None,
        help="Maximum clip length in seconds; longer clips are cut. By default the length of the model's window.",
        minimum=0.1,
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
        for name, group_type, group in (
            ("prompt", Prompt, prompt),
            ("media_options", MediaOptions, media_options),
            ("placement", Placement, placement),
        ):
            given = {option: options[option] for option in options_of(group_type) if option in options}
            if group is not None and given:
                raise TypeError(f"give either {name} or {', '.join(given)}, not both")
            values[name] = group_type(**given) if group is None else group
        for declared in fields(self):
            if declared.name not in values:
                values[declared.name] = options.get(declared.name, declared.default)
        for name, value in values.items():
            object.__setattr__(self, name, value)
        check_values(self)
        self._resolve_defaults()

    def _resolve_defaults(self) -> None:
        """Set the question that suits the modality if there is none, and drop a length limit without effect."""
        if self.max_seconds is not None and not self.max_seconds <= _UNLIMITED_SECONDS:
            object.__setattr__(self, "max_seconds", None)
        if self.prompt.question is None:
            object.__setattr__(self, "prompt", replace(self.prompt, question=QUESTIONS[self.media_options.modality]))

    def load(self) -> LALM:
        """Load the model.

        Returns
        -------
        LALM
            The model, from :func:`calm.load_lalm`.
        """
        from calm.extract.models.loading import load_lalm

        load_options = {option: getattr(self, option) for option in options_of(LoadOptions)}
        return load_lalm(self.model, **load_options, **option_values(self.placement))

    def changed(self, **options: Any) -> Self:
        """Return a copy of this request with new values for some options.

        A new modality resets ``fps`` and ``max_pixels`` to their defaults. It also resets the question if that is the
        default of the old modality.

        Parameters
        ----------
        **options : object
            New values by name, including options of the prompt, the media and the placement.

        Returns
        -------
        Request
            The copy.

        Examples
        --------
        >>> Request("tiny", tokens=4).changed(question="Which bird sings?").prompt.question
        'Which bird sings?'
        """
        values = option_values(self)
        if options.get("modality", values["modality"]) != values["modality"]:
            values |= {"fps": None, "max_pixels": None}
            if values["question"] == QUESTIONS[values["modality"]]:
                values["question"] = None
        return type(self)(**(values | options))

    @property
    def options(self) -> dict[str, Any]:
        """Options that determine head vectors, by name: all except those of the placement."""
        return {name: value for name, value in option_values(self).items() if name not in options_of(Placement)}

    def to_json(self) -> str:
        """Write :attr:`options` as JSON. The placement is left out because it belongs to a machine.

        Returns
        -------
        str
            A JSON object.
        """
        return json.dumps(self.options, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a request that :meth:`to_json` wrote.

        Parameters
        ----------
        text : str or bytes
            A JSON object.

        Returns
        -------
        Request
            The request, with the default placement.

        Raises
        ------
        ValueError
            If the text is not such a JSON object.
        """
        try:
            return cls.from_stored(json.loads(text))  # Python's parser reads the Infinity that earlier versions wrote
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"its request cannot be read: {error}") from error

    @classmethod
    def from_stored(cls, options: Any) -> Self:
        """Build a request from options that were stored in a file.

        Options of the placement are refused: a file must not choose a device or allow remote code to run.

        Parameters
        ----------
        options : dict
            Options by name, as :attr:`options` returns them. Options that later versions added may be missing.

        Returns
        -------
        Request
            The request, with the default placement.

        Raises
        ------
        ValueError
            If a name is unknown, a required option is missing, or a value has the wrong type or is not allowed.
        """
        try:
            return cls(**msgspec.structs.asdict(msgspec.convert(options, type=_stored_options())))
        except (ValueError, TypeError) as error:  # msgspec's are ValueErrors
            raise ValueError(f"its request cannot be read: {error}") from error


@cache
def _stored_options() -> type[msgspec.Struct]:
    """Build the schema of a stored request. Options that have a default may be missing: later versions added some."""
    declared = [option for name, option in options_of(Request).items() if name not in options_of(Placement)]
    schema = [
        (option.name, option.type, msgspec.NODEFAULT if option.default is MISSING else option.default)
        for option in declared
    ]
    return msgspec.defstruct("StoredRequest", schema, forbid_unknown_fields=True)
