"""Make head vectors of real pretrained models, so that methods are not judged on small and random models only.

    apt-get install espeak-ng asterisk-core-sounds-{en,es,fr,it,ru}-wav manpages-dev
    python benchmarks/real_heads.py real/ --esc10 ../shared/esc10 --whisper WHISPER_FOLDER --smollm2 SMOLLM2_FOLDER
    python benchmarks/accuracy.py real/*.npz

WHISPER_FOLDER and SMOLLM2_FOLDER are the transformers folders of ``openai/whisper-tiny.en`` (MIT licence) and
``HuggingFaceTB/SmolLM2-135M-Instruct`` (Apache-2.0). Each option that names a folder is optional. The script skips
kinds whose data are missing and says what is needed; it keeps files that exist. A kind takes 2 to 5 minutes on one
core.

The script writes one ``.npz`` file per kind, with ``X`` (clips, heads, dim), ``y`` and ``groups``. A second file,
``<kind>-strange.npz``, holds ``X`` and ``y`` of inputs that belong to no class: noise, tones and silence; or random
letters, random words, blanks and one repeated letter.

Each kind that begins with ``whisper`` has the heads of the decoder of Whisper: the inputs of the output projections of
self- and cross-attention at the last prompt token. The kind ``whisper-encoder-...`` of the same sounds has the heads of
the encoder, averaged over the frames of the clip. Speech is in pink noise, at random levels.

- ``whisper-esc10``: ESC-10. Groups are the folds.
- ``whisper-digits``: ten digits by 40 speakers of espeak-ng. Groups are the speakers.
- ``whisper-words``: twenty words that sound alike by 20 speakers of espeak-ng. Groups are the speakers.
- ``whisper-voice``: eight voices of espeak-ng, whose pitch and speed vary. Groups are the sentences.
- ``whisper-language``: telephone prompts of Asterisk in five languages. Groups are the prompts. Each language has one
  speaker; English and Spanish have the same one.

The heads of SmolLM2 are at the last token of a prompt that holds the text, a question and the beginning of an answer.
The texts are files that are installed:

- ``smollm2-files``: snippets of ten kinds of files, found below ``--files`` (by default, ``/usr`` and the Python
  environment). Groups are five sets of folders.
- ``smollm2-language``: messages of programs in twelve languages, found below ``--locale``. Groups are the programs.
- ``smollm2-man``: snippets of man pages of six sections, found below ``--man``. Groups are names of pages up to the
  first sign that is no letter or digit.
- ``smollm2-packages``: descriptions of packages of twelve topics, from ``apt-cache``. Groups are the source packages.

``tiny-esc10`` and ``tiny-random-esc10`` are ESC-10 in the built-in models. ``real_sounds.py`` and ``real_texts.py``
name the licences of the data.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import real_sounds
import real_texts
import torch
from numpy.typing import NDArray
from real_sounds import RATE, SourceMissingError

from calm.extract import collect_results, find_clips, head_vectors, load_lalm
from calm.extract.prompt import DEFAULT_QUESTION

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Kind:
    """A kind of head vectors: the files it writes, its inputs, and the model that processes them.

    ``process`` and ``process_strange`` return one array of head vectors for each name.
    """

    names: tuple[str, ...]
    read: Callable[[], tuple[list[Any], list[str], list[str]]]
    process: Callable[[Sequence[Any]], tuple[Vectors, ...]]
    process_strange: Callable[[], tuple[tuple[Vectors, ...], list[str]]]


@contextmanager
def recorded(
    modules: dict[str, torch.nn.Module], reduce: Callable[[torch.Tensor], torch.Tensor]
) -> Iterator[dict[str, torch.Tensor]]:
    """Record the reduced input of each module in every forward pass."""
    record: dict[str, torch.Tensor] = {}

    def make_hook(name: str) -> Callable[..., None]:
        def hook(_: Any, args: tuple[torch.Tensor, ...]) -> None:
            record[name] = reduce(args[0])

        return hook

    handles = [module.register_forward_pre_hook(make_hook(name)) for name, module in modules.items()]
    try:
        yield record
    finally:
        for handle in handles:
            handle.remove()


def last_position(inputs: torch.Tensor) -> torch.Tensor:
    return inputs[0, -1]


def mean_of_frames(frames: int, inputs: torch.Tensor) -> torch.Tensor:
    return inputs[0, :frames].mean(dim=0)


def split(record: dict[str, torch.Tensor], modules: dict[str, torch.nn.Module], dim: int) -> Vectors:
    """Return the recorded inputs of one pass, split by head, (heads, dim)."""
    return torch.cat([record[name].reshape(-1, dim) for name in modules]).float().numpy()


def whisper_vectors(folder: Path, waves: Sequence[Vectors]) -> tuple[Vectors, Vectors]:
    """Return the head vectors of Whisper's decoder and encoder, (clips, heads, dim) each."""
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    model = WhisperForConditionalGeneration.from_pretrained(folder, attn_implementation="sdpa").eval()
    processor = WhisperProcessor.from_pretrained(folder)
    dim = model.config.d_model // model.config.decoder_attention_heads
    decoder, encoder = {}, {}
    for number, layer in enumerate(model.model.decoder.layers):
        decoder[f"{number} self"], decoder[f"{number} cross"] = layer.self_attn.out_proj, layer.encoder_attn.out_proj
    for number, layer in enumerate(model.model.encoder.layers):
        encoder[f"encoder {number}"] = layer.self_attn.out_proj
    prompt = torch.tensor([[model.config.decoder_start_token_id, model.generation_config.no_timestamps_token_id]])
    rows = []
    for wave in waves:
        frames = max(1, len(wave) // 320)  # 50 frames per second
        features = processor(wave, sampling_rate=RATE, return_tensors="pt").input_features
        with (
            torch.inference_mode(),
            recorded(decoder, last_position) as of_decoder,
            recorded(encoder, partial(mean_of_frames, frames)) as of_encoder,
        ):
            model(input_features=features, decoder_input_ids=prompt)
        rows.append((split(of_decoder, decoder, dim), split(of_encoder, encoder, dim)))
    return np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows])


def smollm2_vectors(folder: Path, question: str, answer: str, texts: Sequence[str]) -> tuple[Vectors]:
    """Return the head vectors of SmolLM2 at the last prompt token, (texts, heads, dim)."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    heads = {str(number): layer.self_attn.o_proj for number, layer in enumerate(model.model.layers)}
    dim = model.config.hidden_size // model.config.num_attention_heads
    rows = []
    for text in texts:
        prompt = f"<|im_start|>user\n{text}\n\n{question}<|im_end|>\n<|im_start|>assistant\n{answer}"
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        with torch.inference_mode(), recorded(heads, last_position) as record:
            model(ids, logits_to_keep=1, use_cache=False)
        rows.append(split(record, heads, dim))
    return (np.stack(rows),)


def calm_vectors(model: str, waves: Sequence[Vectors]) -> tuple[Vectors]:
    """Return the head vectors of a model that calm loads, (clips, heads, dim)."""
    clips = find_clips(waves)
    vectors = collect_results(head_vectors(load_lalm(model), clips, [DEFAULT_QUESTION] * len(clips))).values
    assert vectors is not None
    return (vectors.reshape(len(vectors), -1, vectors.shape[-1]),)


def process_strange(
    process: Callable[[Sequence[Any]], tuple[Vectors, ...]], make: Callable[[], tuple[list[Any], list[str]]]
) -> tuple[tuple[Vectors, ...], list[str]]:
    """Return the head vectors of inputs of no class, and their kinds."""
    inputs, kinds = make()
    return process(inputs), kinds


def whisper_kinds(folder: Path, esc10: Path | None, prompts: Path) -> list[Kind]:
    tasks: dict[str, Callable[[], real_sounds.Sounds]] = {
        "digits": real_sounds.speak_digits,
        "esc10": partial(real_sounds.read_esc10, esc10),
        "voice": real_sounds.speak_sentences,
        "language": partial(real_sounds.read_prompts, prompts),
        "words": real_sounds.speak_similar_words,
    }
    process = partial(whisper_vectors, folder)
    strange = cache(partial(process_strange, process, real_sounds.strange_sounds))  # the same for all kinds
    return [
        Kind((f"whisper-{name}", f"whisper-encoder-{name}"), read, process, strange) for name, read in tasks.items()
    ]


def smollm2_kinds(folder: Path, files: Sequence[Path], locale: Path, man: Path) -> list[Kind]:
    tasks: dict[str, tuple[Callable[[], real_texts.Texts], str, str]] = {
        "files": (
            partial(real_texts.read_file_snippets, files),
            "What kind of file is this snippet from?",
            "The kind of file is",
        ),
        "packages": (
            real_texts.read_package_descriptions,
            "What is the topic of the software with this description?",
            "The topic of the software is",
        ),
        "language": (partial(real_texts.read_messages, locale), "What language is this text in?", "The language is"),
        "man": (
            partial(real_texts.read_man_pages, man),
            "What does the manual page with this text describe?",
            "The manual page describes a",
        ),
    }
    kinds = []
    for name, (read, question, answer) in tasks.items():
        process = partial(smollm2_vectors, folder, question, answer)
        strange = partial(process_strange, process, real_texts.strange_texts)
        kinds.append(Kind((f"smollm2-{name}",), read, process, strange))
    return kinds


def tiny_kinds(esc10: Path) -> list[Kind]:
    kinds = []
    for model in ("tiny", "tiny-random"):
        process = partial(calm_vectors, model)
        strange = partial(process_strange, process, real_sounds.strange_sounds)
        kinds.append(Kind((f"{model}-esc10",), partial(real_sounds.read_esc10, esc10), process, strange))
    return kinds


def write(kind: Kind, folder: Path) -> None:
    """Compute a kind and write its files. Each file appears when it is complete."""
    inputs, y, groups = kind.read()
    strange_vectors, strange_y = kind.process_strange()
    for name, X, strange_X in zip(kind.names, kind.process(inputs), strange_vectors, strict=True):
        _save(folder / f"{name}-strange.npz", X=strange_X.astype(np.float32), y=np.asarray(strange_y))
        _save(folder / f"{name}.npz", X=X.astype(np.float32), y=np.asarray(y), groups=np.asarray(groups))
        sizes = f"{len(y)} clips, {len(set(y))} classes, {len(set(groups))} groups"
        print(f"{name}: {sizes}, {X.shape[1]} × {X.shape[2]}", flush=True)


def _save(path: Path, **arrays: NDArray[Any]) -> None:
    temporary = path.with_name(f".{path.stem}-{os.getpid()}.partial")
    with temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    temporary.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", help="names of the kinds to write")
    parser.add_argument("--esc10", type=Path, help="folder of ESC-10")
    parser.add_argument("--whisper", type=Path, help="transformers folder of Whisper tiny.en")
    parser.add_argument("--smollm2", type=Path, help="transformers folder of SmolLM2-135M-Instruct")
    parser.add_argument("--prompts", type=Path, default=Path("/usr/share/asterisk/sounds"), help="prompts of Asterisk")
    files = [Path("/usr"), Path(sys.prefix)]
    parser.add_argument("--files", type=Path, nargs="+", default=files, help="folders of files to classify")
    parser.add_argument("--locale", type=Path, default=Path("/usr/share/locale"), help="folder of translated messages")
    parser.add_argument("--man", type=Path, default=Path("/usr/share/man"), help="folder of man pages")
    args = parser.parse_args()
    kinds = tiny_kinds(args.esc10) if args.esc10 else []
    kinds += whisper_kinds(args.whisper, args.esc10, args.prompts) if args.whisper else []
    kinds += smollm2_kinds(args.smollm2, args.files, args.locale, args.man) if args.smollm2 else []
    if not kinds:
        parser.error("nothing to do: give at least one of --esc10, --whisper and --smollm2")
    names = [name for kind in kinds for name in kind.names]
    if unknown := set(args.only or ()).difference(names):
        parser.error(f"no kind {', '.join(sorted(unknown))}; with these folders there are: {', '.join(names)}")
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for kind in kinds:
        is_wanted = args.only is None or not set(args.only).isdisjoint(kind.names)
        if is_wanted and not all((args.out / f"{name}.npz").exists() for name in kind.names):
            try:
                write(kind, args.out)
            except SourceMissingError as error:
                print(f"{', '.join(kind.names)}: skipped: {error}", flush=True)


if __name__ == "__main__":
    main()
