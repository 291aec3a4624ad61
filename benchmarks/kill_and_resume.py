"""Kill an extraction again and again with SIGKILL, resume it each time, and check that nothing is ever lost.

After every kill the cache must open, every row acknowledged before must still be there, and every acknowledged row
must hold exactly what an uninterrupted run writes. When an extraction has completed, the file must equal the
uninterrupted one and the next kill starts a fresh one. Exits with 1 at the first violation.

    python benchmarks/kill_and_resume.py --kills 50
"""

from __future__ import annotations

import argparse
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import soundfile
from numpy.typing import NDArray

from calm.extract import HeadCache


def make_clips(folder: Path, clips: int) -> None:
    """Write short clips of noise of two classes."""
    rng = np.random.default_rng(0)
    for i in range(clips):
        path = folder / ("hiss" if i % 2 else "hum") / f"{i:04d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal(8000), 16000)


def start(data: Path, cache: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "calm", "extract", "--model", "tiny", str(data), "--out", str(cache), "--json"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def complete(data: Path, cache: Path) -> None:
    if start(data, cache).wait() != 0:
        sys.exit("an extraction that was left alone failed")


def acknowledged(cache: Path) -> NDArray[np.int64]:
    """Read which clips are done; also while the cache is being written."""
    if not cache.exists():
        return np.empty(0, np.int64)
    with HeadCache(cache) as opened:
        return opened.done


def stored(cache: Path) -> NDArray[np.float16]:
    with h5py.File(cache) as file:
        return file["heads"][:]


def check(cache: Path, before: NDArray[np.int64], reference: NDArray[np.float16]) -> NDArray[np.int64]:
    """Return the acknowledged rows, all of them right, or exit."""
    done = acknowledged(cache)  # raises if the file is damaged
    lost = np.setdiff1d(before, done)
    if len(lost):
        sys.exit(f"{len(lost)} acknowledged rows lost")
    if len(done) and not np.array_equal(stored(cache)[done], reference[done]):
        sys.exit("an acknowledged row differs from the uninterrupted run's")
    return done


def kill_once(data: Path, cache: Path, rng: random.Random) -> tuple[NDArray[np.int64], bool]:
    """Start an extraction and kill it; return what was acknowledged just before, and whether it had ended by itself."""
    process = start(data, cache)
    if rng.random() < 0.2:  # anywhere: while loading, while allocating
        time.sleep(rng.uniform(0, 6))
    else:  # while it writes
        already = len(acknowledged(cache))
        while process.poll() is None and len(acknowledged(cache)) == already:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.6))
    before = acknowledged(cache)
    ended = process.poll() is not None
    if ended and process.returncode != 0:
        sys.exit(f"an extraction ended by itself with {process.returncode}")
    process.send_signal(signal.SIGKILL)
    process.wait()
    return before, ended


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--clips", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, cache, whole = folder / "data", folder / "heads.h5", folder / "whole.h5"
        make_clips(data, args.clips)
        complete(data, whole)
        reference = stored(whole)
        kills = completed = mid_way = 0
        while kills < args.kills:
            before, ended = kill_once(data, cache, rng)
            kills += not ended
            done = check(cache, before, reference)
            mid_way += not ended and 0 < len(done) < args.clips
            if len(done) == args.clips:
                completed += 1
                cache.unlink()
        complete(data, cache)
        done = check(cache, acknowledged(cache), reference)
        if len(done) != args.clips:
            sys.exit("the last resume did not complete")
        left = sorted(path.name for path in folder.iterdir() if path.name not in ("data", "heads.h5", "whole.h5"))
    print(f"{platform.platform()}, Python {platform.python_version()}, h5py {h5py.__version__}")
    print(
        f"{kills} kills of an extraction of {args.clips} clips, {mid_way} of them mid-way; "
        f"{completed + 1} extractions completed, each equal to an uninterrupted one"
    )
    print(f"damaged files 0, acknowledged rows lost 0, files left behind {left}")


if __name__ == "__main__":
    main()
