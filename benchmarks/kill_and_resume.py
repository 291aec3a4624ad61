"""Kill an extraction with SIGKILL many times, resume it each time, and check that no row is lost.

After every kill, the cache must open, and every row that was marked as done must still be done, with exactly the head
vectors of an uninterrupted run. When an extraction is complete, its cache must equal that of the uninterrupted run, and
a new extraction starts. The script exits with code 1 at the first violation.

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
    """Write short clips of noise in two classes."""
    rng = np.random.default_rng(0)
    for i in range(clips):
        path = folder / ("hiss" if i % 2 else "hum") / f"{i:04d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal(8000), 16000)


def start_extraction(data: Path, cache: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "calm", "extract", "--model", "tiny", str(data), "--out", str(cache), "--json"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def run_extraction(data: Path, cache: Path) -> None:
    if start_extraction(data, cache).wait() != 0:
        sys.exit("an uninterrupted extraction failed")


def read_done_rows(cache: Path) -> NDArray[np.int64]:
    """Read which rows are done; the cache may be open for writing in another process."""
    if not cache.exists():
        return np.empty(0, np.int64)
    with HeadCache(cache) as opened:
        return opened.done


def read_vectors(cache: Path) -> NDArray[np.float16]:
    with h5py.File(cache) as file:
        return file["heads"][:]


def check_done_rows(cache: Path, done_before: NDArray[np.int64], reference: NDArray[np.float16]) -> NDArray[np.int64]:
    """Return the rows that are done; exit if one is lost or differs from the reference."""
    done = read_done_rows(cache)  # raises if the file is damaged
    lost = np.setdiff1d(done_before, done)
    if len(lost):
        sys.exit(f"{len(lost)} acknowledged rows lost")
    if len(done) and not np.array_equal(read_vectors(cache)[done], reference[done]):
        sys.exit("an acknowledged row differs from the uninterrupted run's")
    return done


def kill_once(data: Path, cache: Path, rng: random.Random) -> tuple[NDArray[np.int64], bool]:
    """Start an extraction and kill it; return the rows done just before, and whether it had already ended by itself."""
    process = start_extraction(data, cache)
    if rng.random() < 0.2:  # at any time, also while the model loads or the cache is created
        time.sleep(rng.uniform(0, 6))
    else:  # while it writes rows
        rows_at_start = len(read_done_rows(cache))
        while process.poll() is None and len(read_done_rows(cache)) == rows_at_start:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.6))
    before = read_done_rows(cache)
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
        run_extraction(data, whole)
        reference = read_vectors(whole)
        kills = completed = mid_way = 0
        while kills < args.kills:
            before, ended = kill_once(data, cache, rng)
            kills += not ended
            done = check_done_rows(cache, before, reference)
            mid_way += not ended and 0 < len(done) < args.clips
            if len(done) == args.clips:
                completed += 1
                cache.unlink()
        run_extraction(data, cache)
        done = check_done_rows(cache, read_done_rows(cache), reference)
        if len(done) != args.clips:
            sys.exit("the last resume did not complete")
        expected_names = ("data", "heads.h5", "whole.h5")
        left_behind = sorted(path.name for path in folder.iterdir() if path.name not in expected_names)
    print(f"{platform.platform()}, Python {platform.python_version()}, h5py {h5py.__version__}")
    print(
        f"{kills} kills of an extraction of {args.clips} clips, {mid_way} of them mid-way; "
        f"{completed + 1} extractions completed, each equal to an uninterrupted one"
    )
    print(f"damaged files 0, acknowledged rows lost 0, files left behind {left_behind}")


if __name__ == "__main__":
    main()
