"""Make head vectors of real pretrained models, so that methods are not judged on small and random models only.

    python benchmarks/real_heads.py real/ --esc10 ../shared/esc10 --whisper WHISPER_FOLDER --smollm2 SMOLLM2_FOLDER

WHISPER_FOLDER and SMOLLM2_FOLDER are transformers folders of Whisper tiny.en and SmolLM2-135M-Instruct. Each is
optional. The script writes one ``.npz`` file per kind, with ``X`` (clips, heads, dim), ``y`` and ``groups``. A second
file, ``<kind>-strange.npz``, holds ``X`` and ``y`` of inputs that belong to no class. Files that exist are kept.

- ``whisper-esc10``: ESC-10 in the decoder of Whisper. Its heads are the inputs of the output projections of self- and
  cross-attention at the last prompt token. ``whisper-encoder-esc10`` has the heads of the encoder, averaged over the
  frames of the clip. Groups are the folds.
- ``smollm2-files``: snippets of ten kinds of files, found below ``--files``, at the last token of a prompt that asks
  for the kind. Groups are five sets of folders.
- ``tiny-esc10``, ``tiny-random-esc10``: ESC-10 in the built-in models.

Strange sounds are white noise, pink noise, silence and tones. Strange texts are random letters, random words, blanks
and one repeated letter.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calm.extract import Clip, collect_results, find_clips, head_vectors, load_lalm, read_waveform
from calm.extract.prompt import DEFAULT_QUESTION

RATE, SECONDS = 16000, 5
STRANGE_EACH = 20
FILE_KINDS = ("cmake", "h", "js", "json", "pm", "po", "py", "rst", "xml", "yaml")
FILES_EACH, SNIPPET = 50, 200

Vectors = NDArray[np.float32]


def strange_sounds() -> tuple[list[NDArray[np.float32]], list[str]]:
    """Return waveforms of no class, and their kinds."""
    rng, n = np.random.default_rng(0), RATE * SECONDS
    waves, kinds = [], []

    def add(kind: str, wave: NDArray[Any]) -> None:
        peak = np.abs(wave).max()
        level = 10 ** rng.uniform(-1.5, -0.1)
        waves.append((level * wave / peak if peak else wave).astype(np.float32))
        kinds.append(kind)

    for _ in range(STRANGE_EACH):
        white = rng.normal(size=n)
        add("white noise", white)
        frequency = np.fft.rfftfreq(n, 1 / RATE)
        add("pink noise", np.fft.irfft(np.fft.rfft(white) / np.sqrt(np.maximum(frequency, 20)), n))
        add("tone", np.sin(2 * np.pi * np.exp(rng.uniform(np.log(80), np.log(6000))) * np.arange(n) / RATE))
    add("silence", np.zeros(n))  # silence has no variants
    return waves, kinds


def strange_texts() -> tuple[list[str], list[str]]:
    """Return texts that are no file snippets, and their kinds."""
    rng = np.random.default_rng(0)
    letters = np.array([*"abcdefghijklmnopqrstuvwxyz"])
    words = np.array(
        [
            "river",
            "stone",
            "quickly",
            "under",
            "seven",
            "green",
            "listen",
            "market",
            "because",
            "yellow",
            "paper",
            "winter",
        ]
    )
    texts, kinds = [], []
    for i in range(STRANGE_EACH):
        texts += [
            "".join(rng.choice(letters, SNIPPET)),
            " ".join(rng.choice(words, SNIPPET // 6)),
            " " * int(rng.integers(1, SNIPPET)),
            str(letters[i]) * SNIPPET,
        ]
        kinds += ["random letters", "random words", "blanks", "one letter"]
    return texts, kinds


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


def split(record: dict[str, torch.Tensor], modules: dict[str, torch.nn.Module], dim: int) -> Vectors:
    """Return the recorded inputs of one pass, split by head, (heads, dim)."""
    return torch.cat([record[name].reshape(-1, dim) for name in modules]).float().numpy()


def read_samples(clip: Clip) -> NDArray[np.float32]:
    """Return the first seconds of a clip."""
    samples = read_waveform(clip.audio, RATE, SECONDS).samples
    assert samples is not None
    return samples


def whisper_vectors(folder: Path, waves: Sequence[NDArray[np.float32]]) -> tuple[Vectors, Vectors]:
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

        def average(x: torch.Tensor, frames: int = frames) -> torch.Tensor:
            return x[0, :frames].mean(dim=0)

        features = processor(wave, sampling_rate=RATE, return_tensors="pt").input_features
        with (
            torch.inference_mode(),
            recorded(decoder, lambda x: x[0, -1]) as of_decoder,
            recorded(encoder, average) as of_encoder,
        ):
            model(input_features=features, decoder_input_ids=prompt)
        rows.append((split(of_decoder, decoder, dim), split(of_encoder, encoder, dim)))
    return np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows])


def smollm2_vectors(folder: Path, texts: Sequence[str]) -> Vectors:
    """Return the head vectors of SmolLM2 at the last prompt token, (texts, heads, dim)."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    heads = {str(number): layer.self_attn.o_proj for number, layer in enumerate(model.model.layers)}
    dim = model.config.hidden_size // model.config.num_attention_heads
    rows = []
    for text in texts:
        prompt = (
            f"<|im_start|>user\n{text}\n\nWhat kind of file is this snippet from?<|im_end|>\n"
            "<|im_start|>assistant\nThe kind of file is"
        )
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        with torch.inference_mode(), recorded(heads, lambda x: x[0, -1]) as record:
            model(ids, logits_to_keep=1, use_cache=False)
        rows.append(split(record, heads, dim))
    return np.stack(rows)


def calm_vectors(model: str, clips: Sequence[Clip]) -> Vectors:
    """Return the head vectors of a model that calm loads, (clips, heads, dim)."""
    vectors = collect_results(head_vectors(load_lalm(model), clips, [DEFAULT_QUESTION] * len(clips))).values
    assert vectors is not None
    return vectors.reshape(len(vectors), -1, vectors.shape[-1])


def file_snippets(roots: Sequence[Path]) -> tuple[list[str], list[str], list[int]]:
    """Return random snippets of files, their kinds, and their groups: a folder is in one group."""
    texts, kinds, groups = [], [], []
    for kind in FILE_KINDS:
        paths = sorted({path for root in roots for path in root.rglob(f"*.{kind}") if path.is_file()}, key=_digest)
        per_folder: dict[Path, int] = {}
        chosen = 0
        for path in paths:
            content = path.read_text(errors="replace")
            if len(content) < 2 * SNIPPET or per_folder.get(path.parent, 0) == 2:
                continue
            per_folder[path.parent] = per_folder.get(path.parent, 0) + 1
            start = _digest(path) % (len(content) - SNIPPET)
            texts.append(content[start : start + SNIPPET])
            kinds.append(kind)
            groups.append(_digest(path.parent) % 5)
            chosen += 1
            if chosen == FILES_EACH:
                break
    return texts, kinds, groups


def _digest(path: Path) -> int:
    return int.from_bytes(hashlib.blake2b(str(path).encode(), digest_size=8).digest(), "big")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--esc10", type=Path, help="folder of ESC-10")
    parser.add_argument("--whisper", type=Path, help="transformers folder of Whisper tiny.en")
    parser.add_argument("--smollm2", type=Path, help="transformers folder of SmolLM2-135M-Instruct")
    parser.add_argument("--files", type=Path, nargs="+", default=[Path("/usr")], help="folders of files to classify")
    args = parser.parse_args()
    args.out.mkdir(exist_ok=True)
    torch.set_num_threads(1)

    def write(name: str, X: Vectors, y: Any, groups: Any, strange_X: Vectors, strange_y: Any) -> None:
        np.savez(args.out / f"{name}-strange.npz", X=strange_X.astype(np.float32), y=np.asarray(strange_y))
        np.savez(args.out / f"{name}.npz", X=X.astype(np.float32), y=np.asarray(y), groups=np.asarray(groups))
        print(f"{name}: {X.shape[0]} clips, {len(set(y))} classes, {X.shape[1]} × {X.shape[2]}", flush=True)

    def missing(name: str) -> bool:
        return not (args.out / f"{name}.npz").exists()

    if args.esc10:
        clips = find_clips(args.esc10)
        y, groups = [clip.label for clip in clips], [clip.group for clip in clips]
        sounds, kinds = strange_sounds()
        for model in ("tiny", "tiny-random"):
            if missing(f"{model}-esc10"):
                strange = calm_vectors(model, find_clips(sounds))
                write(f"{model}-esc10", calm_vectors(model, clips), y, groups, strange, kinds)
        if args.whisper and missing("whisper-encoder-esc10"):
            waves = [read_samples(clip) for clip in clips]
            real, strange_real = whisper_vectors(args.whisper, waves), whisper_vectors(args.whisper, sounds)
            for name, X, strange in zip(("whisper-esc10", "whisper-encoder-esc10"), real, strange_real, strict=True):
                write(name, X, y, groups, strange, kinds)
    if args.smollm2 and missing("smollm2-files"):
        texts, file_kinds, file_groups = file_snippets(args.files)
        strange_text, text_kinds = strange_texts()
        strange = smollm2_vectors(args.smollm2, strange_text)
        write("smollm2-files", smollm2_vectors(args.smollm2, texts), file_kinds, file_groups, strange, text_kinds)


if __name__ == "__main__":
    main()
