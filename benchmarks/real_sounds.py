"""Sounds to classify with real models: spoken digits, words, voices and languages.

Each function returns waveforms of 16 kHz, their labels and their groups.

The sources are free and are not part of this repository. ESC-10 is CC BY (Piczak 2015; see the folder). espeak-ng is
GPL-3.0-or-later, which does not cover the speech that it synthesizes. The prompts of Asterisk are CC BY-SA 3.0 (English
and Spanish: Allison Smith; French: June Wallack; Italian: Carlo Flora) and CC BY 3.0 (Russian: Maxim Topal).
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calm.extract import find_clips, read_waveform

RATE, SECONDS = 16000, 5
STRANGE_EACH = 20
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WORDS = (
    "bat", "cat", "hat", "pat", "bed", "red", "shed", "said", "bin", "pin", "thin", "chin", "goat", "coat", "boat",
    "note", "light", "right", "night", "kite",
)  # fmt: skip
ACCENTS = (
    "en-us", "en-us-nyc", "en-029", "en-gb", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-gb-x-rp",
)  # fmt: skip
VARIANTS = (
    "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5", "klatt", "klatt2", "klatt3", "adam",
    "Andy", "Annie", "Denis", "Diogo", "Gene", "Henrique", "Hugo", "Jacky", "Lee", "Mario", "Michael", "Mike", "Steph",
    "aunty", "belinda", "benjamin", "caleb", "david", "ed", "edward", "grandma", "grandpa", "linda", "max", "miguel",
    "norbert", "pablo", "paul", "quincy", "rob", "robert", "sandro", "shelby", "travis", "victor", "zac",
)  # fmt: skip
VOICES = ("m1", "m3", "m7", "f1", "f2", "f4", "klatt2", "grandma")
SLOTS = (
    ("Peter", "Kathy", "Lucy", "Alan", "Rachel", "Barry", "Nina", "Steven"),
    ("bought", "gives", "got", "has", "kept", "ordered", "sees", "wants"),
    ("two", "three", "four", "eight", "nine", "twelve", "many", "several"),
    ("large", "small", "old", "dark", "thin", "green", "cheap", "pretty"),
    ("desks", "chairs", "shoes", "spoons", "flowers", "houses", "rings", "toys"),
)
SENTENCES, PROMPTS = 50, 80
LANGUAGES = {
    "English": "en_US_f_Allison",
    "Spanish": "es_MX_f_Allison",
    "French": "fr_CA_f_June",
    "Italian": "it_IT_m_Carlo",
    "Russian": "ru_RU_f_IvrvoiceRU",
}

Wave = NDArray[np.float32]
Sounds = tuple[list[Wave], list[str], list[str]]


class SourceMissingError(Exception):
    """The data of a task are not on this machine."""


@dataclass(frozen=True)
class Speaker:
    """A voice of espeak-ng: an accent and variant, its pitch (0 to 99), and its speed in words per minute."""

    voice: str
    pitch: int
    speed: int


def decode(audio: Any) -> Wave:
    """Return the first five seconds at 16 kHz."""
    samples = read_waveform(audio, RATE, SECONDS).samples
    assert samples is not None
    return samples


def read_esc10(folder: Path | None) -> Sounds:
    """Return the clips of ESC-10; the groups are its folds."""
    if folder is None:
        raise SourceMissingError("give the folder of ESC-10 with --esc10")
    clips = find_clips(folder)
    waves = [decode(clip.audio) for clip in clips]
    return waves, [str(clip.label) for clip in clips], [str(clip.group) for clip in clips]


def speak_digits() -> Sounds:
    """Return ten digits, spoken by 40 speakers in noise; the groups are the speakers."""
    return speak_words(DIGITS, 40, np.random.default_rng(1), (0, 30))


def speak_similar_words() -> Sounds:
    """Return twenty words that sound alike, spoken by 20 speakers in noise; the groups are the speakers."""
    return speak_words(WORDS, 20, np.random.default_rng(2), (5, 30))


def speak_words(words: Sequence[str], speakers: int, rng: np.random.Generator, decibels: tuple[float, float]) -> Sounds:
    """Synthesize each word by each of several random speakers."""
    waves, y, groups = [], [], []
    for variant in rng.choice(VARIANTS, speakers, replace=False):
        voice = f"{rng.choice(ACCENTS)}+{variant}"
        speaker = Speaker(voice, int(rng.integers(20, 80)), int(rng.integers(120, 220)))
        for word, wave in zip(words, synthesize_speech(words, [speaker] * len(words)), strict=True):
            waves.append(add_noise(wave, rng, decibels))
            y.append(word)
            groups.append(voice)
    return waves, y, groups


def speak_sentences() -> Sounds:
    """Return 50 sentences by 8 voices of varying pitch and speed; the groups are the sentences."""
    rng = np.random.default_rng(3)
    sentences = sorted({" ".join(rng.choice(slot) for slot in SLOTS) for _ in range(SENTENCES)})
    texts = [sentence for sentence in sentences for _ in VOICES]
    labels = [voice for _ in sentences for voice in VOICES]
    speakers = [Speaker(f"en-us+{v}", int(rng.integers(30, 70)), int(rng.integers(130, 200))) for v in labels]
    waves = [add_noise(wave, rng, (10, 30)) for wave in synthesize_speech(texts, speakers)]
    return waves, labels, texts


def read_prompts(folder: Path) -> Sounds:
    """Return telephone prompts in five languages; the groups are the prompts, so that each is in all languages.

    Each language has one speaker; English and Spanish have the same one.
    """
    missing = [name for name in LANGUAGES.values() if not (folder / name).is_dir()]
    if missing:
        raise SourceMissingError(
            f"{', '.join(missing)} not found in {folder}: apt-get install asterisk-core-sounds-{{en,es,fr,it,ru}}-wav"
        )
    rng = np.random.default_rng(4)
    listed = [{path.name for path in (folder / name).glob("*.wav")} for name in LANGUAGES.values()]
    waves, y, groups = [], [], []
    for prompt in rng.permutation(sorted(set.intersection(*listed))):
        versions = [decode(folder / name / prompt) for name in LANGUAGES.values()]
        if min(len(wave) for wave in versions) < 0.7 * RATE:
            continue
        waves += [add_noise(wave, rng, (10, 30)) for wave in versions]
        y += list(LANGUAGES)
        groups += [str(prompt)] * len(LANGUAGES)
        if len(waves) == PROMPTS * len(LANGUAGES):
            break
    return waves, y, groups


def synthesize_speech(texts: Sequence[str], speakers: Iterable[Speaker]) -> list[Wave]:
    """Synthesize each text by its speaker with espeak-ng."""
    if shutil.which("espeak-ng") is None:
        raise SourceMissingError("espeak-ng is not installed: apt-get install espeak-ng")
    waves = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        for text, speaker in zip(texts, speakers, strict=True):
            options = ["-v", speaker.voice, "-p", str(speaker.pitch), "-s", str(speaker.speed), "-w", str(path)]
            subprocess.run(["espeak-ng", *options, text], check=True)
            waves.append(decode(path))
    return waves


def add_noise(wave: Wave, rng: np.random.Generator, decibels: tuple[float, float]) -> Wave:
    """Pad speech with up to half a second at both ends, add pink noise, and choose a level at random."""
    padded = np.pad(wave, rng.integers(RATE // 20, RATE // 2, 2))
    noise = pink_noise(len(padded), rng)
    ratio = 10 ** (rng.uniform(*decibels) / 20)
    noisy = padded / np.sqrt(np.mean(wave**2)) + noise / np.sqrt(np.mean(noise**2)) / ratio
    return (noisy / np.abs(noisy).max() * 10 ** rng.uniform(-1, -0.1)).astype(np.float32)


def pink_noise(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return noise whose power falls with the frequency above 20 Hz."""
    spectrum = np.fft.rfft(rng.normal(size=n)) / np.sqrt(np.maximum(np.fft.rfftfreq(n, 1 / RATE), 20))
    return np.asarray(np.fft.irfft(spectrum, n))


def strange_sounds() -> tuple[list[Wave], list[str]]:
    """Return waveforms of no class, and their kinds."""
    rng, n = np.random.default_rng(0), RATE * SECONDS
    waves: list[Wave] = []
    kinds: list[str] = []

    def add(kind: str, wave: NDArray[Any]) -> None:
        peak = np.abs(wave).max()
        level = 10 ** rng.uniform(-1.5, -0.1)
        waves.append((level * wave / peak if peak else wave).astype(np.float32))
        kinds.append(kind)

    for _ in range(STRANGE_EACH):
        add("white noise", rng.normal(size=n))
        add("pink noise", pink_noise(n, rng))
        add("tone", np.sin(2 * np.pi * np.exp(rng.uniform(np.log(80), np.log(6000))) * np.arange(n) / RATE))
    add("silence", np.zeros(n))  # silence has no variants
    return waves, kinds
