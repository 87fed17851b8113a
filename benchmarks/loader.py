"""Random single steps from a generated 256x256 RLDS data set to 128x128, beside a bare decode loop and tf.data.

Run: ``python benchmarks/loader.py [--quick] [--threads 2]``. Prints a table, then one JSON object on the last line.
All rates are medians over interleaved rounds of one run on one machine. An image is one decoded camera frame; a step has two.
The loader also reads the same records from ArrayRecord, where a random step costs reading its whole episode.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

SIZE, TARGET, BATCH = 256, 128, 64
CAMERAS = {"primary": "steps/observation/image_0", "secondary": "steps/observation/image_1"}
TARGETS = {
    "loader / bare decode": (0.8, "x"),
    "loader / tf.data Lanczos": (5.0, "x"),
    "loader / tf.data bilinear": (1.6, "x"),
    "decoded cache / loader": (20.0, "x"),
    "index build": (150.0, "MB/s per core"),
    "first batch": (1.0, "s at most"),
    "anonymous memory above imports": (500.0, "MB at most"),
    "anonymous memory growth": (50.0, "MB at most"),
}


def generate(folder: Path, episodes: int, steps: int) -> int:
    """Write a bridge_dataset of textured frames as TFDS lays it out; returns bytes of JPEG per step."""
    import cv2
    import tensorflow as tf
    import tensorflow_datasets as tfds

    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    image = tfds.features.Image(shape=(SIZE, SIZE, 3), encoding_format="jpeg")
    tensor = tfds.features.Tensor
    observation = {"image_0": image, "image_1": image, "state": tensor(shape=(7,), dtype=np.float32)}
    step = {"observation": observation, "action": tensor(shape=(7,), dtype=np.float32), "reward": np.float32}
    step |= dict.fromkeys(("is_first", "is_last", "is_terminal"), np.bool_)
    step["language_instruction"] = tfds.features.Text()
    features = tfds.features.FeaturesDict({"steps": tfds.features.Dataset(step)})
    features.save_config(str(folder))
    world = textured(rng, 2048)
    shards, per_shard, total = 4, episodes // 4, 0
    for s in range(shards):
        name = f"bridge_dataset-train.tfrecord-{s:05d}-of-{shards:05d}"
        with tf.io.TFRecordWriter(str(folder / name)) as writer:
            for _ in range(per_shard):
                frames = {}
                for key in CAMERAS.values():
                    y, x = rng.integers(0, 2048 - SIZE - steps * 4, 2)
                    crops = [world[y + 4 * t : y + 4 * t + SIZE, x + 3 * t : x + 3 * t + SIZE] for t in range(steps)]
                    frames[key] = [cv2.imencode(".jpg", c, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes() for c in crops]
                    total += sum(map(len, frames[key]))
                writer.write(_example(tf, rng, frames, steps))
    info = {
        "name": "bridge_dataset", "version": "1.0.0", "fileFormat": "tfrecord",
        "splits": [{"name": "train", "numBytes": "0", "shardLengths": [str(per_shard)] * shards,
                    "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"}],
    }  # fmt: skip
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return total // (episodes * steps)


def as_array_record(folder: Path, out: Path) -> Path:
    """The same records in ArrayRecord shards, one record per group as tensorflow-datasets writes them; returns `out`."""
    from array_record.python import array_record_module

    from robot_pt_data import tfrecord

    out.mkdir(parents=True)
    for shard in sorted(folder.glob("*.tfrecord-*")):
        name = shard.name.replace("tfrecord", "array_record")
        writer, data = array_record_module.ArrayRecordWriter(str(out / name), "group_size:1"), tfrecord.map_file(shard)
        for record in tfrecord.scan(data, shard.name):
            writer.write(data[record.offset : record.offset + record.length].tobytes())
        writer.close()
    shutil.copy(folder / "features.json", out)
    info = json.loads((folder / "dataset_info.json").read_text())
    (out / "dataset_info.json").write_text(json.dumps({**info, "fileFormat": "array_record"}))
    return out


def textured(rng: np.random.Generator, size: int) -> np.ndarray[Any, Any]:
    """(size, size, 3) uint8 with detail at every scale, as photographs have (amplitude falls with frequency)."""
    import cv2

    out = np.zeros((size, size, 3), np.float32)
    for octave in range(2, 11):
        noise = rng.standard_normal((2**octave, 2**octave, 3)).astype(np.float32)
        out += cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC) * 0.62**octave
    low, high = np.percentile(out, [0.5, 99.5])
    return np.clip((out - low) / (high - low) * 255, 0, 255).astype(np.uint8)


def _example(tf: Any, rng: np.random.Generator, frames: dict[str, list[bytes]], steps: int) -> bytes:
    def floats(width: int) -> Any:
        return tf.train.Feature(float_list=tf.train.FloatList(value=rng.standard_normal(steps * width) * 0.02))

    def flags(at: int) -> Any:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(t == at % steps) for t in range(steps)]))

    def texts(values: list[bytes]) -> Any:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    feature = {
        **{key: texts(values) for key, values in frames.items()},
        "steps/action": floats(7), "steps/observation/state": floats(7), "steps/reward": floats(1),
        "steps/is_first": flags(0), "steps/is_last": flags(-1), "steps/is_terminal": flags(-1),
        "steps/language_instruction": texts([b"put the carrot on the plate"] * steps),
    }  # fmt: skip
    return bytes(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


def bare_decode(blobs: list[bytes], threads: int) -> Callable[[float], float]:
    """Images/s of scaled decodes over bytes in memory and nothing else: what the codec gives on these cores."""
    import cv2

    arrays = [np.frombuffer(blob, np.uint8) for blob in blobs]
    flags = 16 | cv2.IMREAD_COLOR_RGB  # 1/2 scale, RGB
    pool = ThreadPoolExecutor(threads)

    def work(seconds: float) -> int:
        count, end = 0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            for i in range(count, count + BATCH):
                cv2.imdecode(arrays[i % len(arrays)], flags)
            count += BATCH
        return count

    def run(seconds: float) -> float:
        begun = time.perf_counter()
        done = sum(pool.map(work, [seconds] * threads))
        return done / (time.perf_counter() - begun)

    return run


def loader(folder: Path, threads: int) -> Callable[[float], float]:
    """Images/s of uniformly random steps, both cameras, through the public source, one batch at a time per thread."""
    import robot_pt_data

    source = robot_pt_data.open(folder)
    rows = source.episodes.rows()
    pool = ThreadPoolExecutor(threads)
    source.threads = 1  # each worker decodes its own batch, as replay does

    def work(job: tuple[float, int]) -> int:
        seconds, seed = job
        rng, count, end = np.random.default_rng(seed), 0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            steps = rng.choice(rows, BATCH)
            for camera in CAMERAS:
                source.images(steps, camera, (TARGET, TARGET))
            count += BATCH * len(CAMERAS)
        return count

    def run(seconds: float) -> float:
        begun = time.perf_counter()
        done = sum(pool.map(work, [(seconds, s) for s in range(threads)]))
        return done / (time.perf_counter() - begun)

    return run


def decoded(folder: Path, out: Path) -> Callable[[float], float]:
    """Images/s of random steps from the decoded cache of one camera, one caller."""
    import robot_pt_data

    source = robot_pt_data.cache(robot_pt_data.open(folder), out, (TARGET, TARGET), cameras=["primary"])
    rng = np.random.default_rng(0)

    def run(seconds: float) -> float:
        count, begun = 0, time.perf_counter()
        while time.perf_counter() < begun + seconds:
            source.images(rng.integers(0, len(source.actions), BATCH), "primary")
            count += BATCH
        return count / (time.perf_counter() - begun)

    return run


def tf_data(folder: Path, method: str, threads: int) -> Callable[[float], float]:
    """Images/s of a tf.data pipeline of Octo's kind: parse episode, flatten, shuffle 10k, decode, resize, batch."""
    import tensorflow as tf

    files = sorted(str(p) for p in folder.glob("*.tfrecord-*"))
    schema: dict[str, Any] = {key: tf.io.VarLenFeature(tf.string) for key in CAMERAS.values()}
    schema |= {key: tf.io.VarLenFeature(tf.float32) for key in ("steps/action", "steps/observation/state")}

    def parse(record: Any) -> Any:
        found = tf.io.parse_single_example(record, schema)
        out = {key: tf.sparse.to_dense(found[key]) for key in CAMERAS.values()}
        for key in ("steps/action", "steps/observation/state"):
            out[key] = tf.reshape(tf.sparse.to_dense(found[key]), (-1, 7))
        return tf.data.Dataset.from_tensor_slices(out)

    def picture(step: Any) -> Any:
        for key in CAMERAS.values():
            image = tf.io.decode_jpeg(step[key], channels=3)
            image = tf.image.resize(image, (TARGET, TARGET), method=method, antialias=method == "lanczos3")
            step[key] = tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)
        return step

    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    options.threading.max_intra_op_parallelism = 1
    data = tf.data.Dataset.from_tensor_slices(files).interleave(
        tf.data.TFRecordDataset, cycle_length=4, num_parallel_calls=threads
    )
    data = data.repeat().flat_map(parse).shuffle(10_000)
    data = data.map(picture, num_parallel_calls=threads).batch(BATCH).prefetch(2).with_options(options)
    batches = iter(data)
    next(batches)  # the shuffle buffer fills outside the clock

    def run(seconds: float) -> float:
        next(batches), next(batches), next(batches)  # what was prefetched while others ran does not count
        count, begun = 0, time.perf_counter()
        while time.perf_counter() < begun + seconds:
            next(batches)
            count += BATCH * len(CAMERAS)
        return count / (time.perf_counter() - begun)

    return run


Rates = dict[str, list[float]]


def interleaved(subjects: dict[str, Callable[[float], float]], rounds: int, seconds: float) -> tuple[Rates, Rates]:
    """(images/s, images per second of CPU time) per subject, one of each per round.

    A busy spell of the machine hits all alike; CPU time leaves out what other programs took from either side.
    """
    wall: Rates = {name: [] for name in subjects}
    cpu: Rates = {name: [] for name in subjects}
    for r in range(rounds):
        for name, run in subjects.items():
            if r == 0:
                run(min(seconds, 0.5))
            begun, used = time.perf_counter(), time.process_time()
            wall[name].append(run(seconds))
            cores = (time.process_time() - used) / (time.perf_counter() - begun)
            cpu[name].append(wall[name][-1] / cores)
    return wall, cpu


_MEMORY = """
import sys, time; begun = time.perf_counter()
import numpy as np, robot_pt_data
import cv2, robot_pt.images
def anonymous():
    return int(next(l for l in open('/proc/self/status') if l.startswith('RssAnon')).split()[1]) / 1024
imported, base = time.perf_counter() - begun, anonymous()
source = robot_pt_data.open(sys.argv[1])
rows = source.episodes.rows()
rng = np.random.default_rng(0); seen = []
for i in range(int(sys.argv[2]) // 64):
    steps = rng.choice(rows, 64)
    for camera in ('primary', 'secondary'):
        source.images(steps, camera, (128, 128))
    if i == 0: first = time.perf_counter() - begun
    if i % (int(sys.argv[2]) // 640) == 0: seen.append(anonymous() - base)
heavy = [m for m in ('tensorflow', 'tensorflow_datasets') if m in sys.modules]
assert not heavy, f'{heavy} imported although an index is present'
import json; print(json.dumps({'first': first, 'imports': imported, 'above': max(seen), 'growth': seen[-1] - seen[1], 'seen': seen}))
"""


def memory(folder: Path, samples: int) -> dict[str, Any]:
    """First batch and anonymous memory of a fresh process that finds an index."""
    done = subprocess.run([sys.executable, "-c", _MEMORY, str(folder), str(samples)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _blobs(source: Any) -> Iterator[bytes]:
    for camera in CAMERAS:
        yield from source.encoded(np.random.default_rng(0).choice(source.episodes.rows(), 512), camera)


def measure(root: Path, args: argparse.Namespace) -> dict[str, Any]:
    import robot_pt_data

    folder = root / "bridge_dataset" / "1.0.0"
    say(f"generating {args.episodes} episodes x {args.steps} steps x 2 cameras at {SIZE}x{SIZE} ...")
    per_step = generate(folder, args.episodes, args.steps)
    builds = [robot_pt_data.index(folder).mb_per_s for _ in range(3)]
    say("interleaved rounds ...")
    source = robot_pt_data.open(folder)
    subjects = {
        "bare decode": bare_decode(list(_blobs(source)), args.threads),
        "loader": loader(folder, args.threads),
        "loader, ArrayRecord": loader(
            as_array_record(folder, root / "array_record" / "bridge_dataset" / "1.0.0"), args.threads
        ),
        "tf.data bilinear": tf_data(folder, "bilinear", args.threads),
        "tf.data Lanczos": tf_data(folder, "lanczos3", args.threads),
        "decoded cache": decoded(folder, root / "decoded"),
    }
    rates, per_core = interleaved(subjects, args.rounds, args.seconds)
    say("memory over time ...")
    found = memory(folder, args.samples)
    results = {
        **_ratios(rates),
        "index build": float(np.median(builds)),
        "first batch": found["first"],
        "anonymous memory above imports": found["above"],
        "anonymous memory growth": found["growth"],
    }
    return {
        "images_per_s": {name: float(np.median(r)) for name, r in rates.items()},
        "images_per_core_second": {name: float(np.median(r)) for name, r in per_core.items()},
        "ratios_per_core_second": _ratios(per_core),
        "load": os.getloadavg(),
        "results": results,
        "met": {name: _met(name, value) for name, value in results.items()},
        "jpeg_kb_per_step": per_step / 1000,
        "samples": args.samples,
        "threads": args.threads,
        "cores": os.cpu_count(),
        "rounds": rates,
        "memory_mb": found["seen"],
        "imports_s": found["imports"],
    }


def _ratios(rates: Rates) -> dict[str, float]:
    pairs = (
        ("loader", "bare decode"), ("loader", "tf.data Lanczos"), ("loader", "tf.data bilinear"), ("decoded cache", "loader"),
    )  # fmt: skip
    return {f"{a} / {b}": float(np.median(np.array(rates[a]) / np.array(rates[b]))) for a, b in pairs}


def _beside(outcome: dict[str, Any], name: str) -> str:
    value = outcome["ratios_per_core_second"].get(name)
    return "" if value is None else f"   {value:.2f} per core-second"


def _met(name: str, value: float) -> bool:
    target, unit = TARGETS[name]
    return value <= target if "most" in unit else value >= target


def say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute instead of several; same checks on less data")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the JSON here")
    args = parser.parse_args()
    args.episodes, args.steps = (40, 40) if args.quick else (200, 40)
    args.rounds, args.seconds, args.samples = (3, 1.0, 6400) if args.quick else (7, 3.0, 102_400)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    with tempfile.TemporaryDirectory() as root:
        os.environ["ROBOT_PT_CACHE"] = f"{root}/cache"
        outcome = measure(Path(root), args)
    for name, rate in outcome["images_per_s"].items():
        say(f"{name:<34}{rate:>12,.0f} images/s {outcome['images_per_core_second'][name]:>12,.0f} per core-second")
    if outcome["load"][0] > args.threads + 1.5:
        say(
            f"the machine is busy (load {outcome['load'][0]:.1f}): trust the ratios per core-second, or run again when it is idle"
        )
    for name, value in outcome["results"].items():
        target, unit = TARGETS[name]
        say(
            f"{name:<34}{value:>12.2f}   target {target:g} {unit:<14} {'met' if outcome['met'][name] else 'MISSED'}{_beside(outcome, name)}"
        )
    if args.json:
        args.json.write_text(json.dumps(outcome, indent=1))
    say(json.dumps(outcome))


if __name__ == "__main__":
    main()
