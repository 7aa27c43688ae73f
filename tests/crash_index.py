"""Kill a process that writes to an index, again and again, and look at what is left.

    python tests/crash_index.py --kills 200     at random moments of random changes
    python tests/crash_index.py --steps         before every single step of each kind of change, and after the last

Each time the index must open, hold everything that was acknowledged, at most one change more, and pass `check`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from indexes import REMOVALS, WRITES, broken, loud
from smartrt import Bundle, Embeddings, Index, IndexOptions
from support import embeddings

BUNDLE = Path(__file__).parent / "data" / "tiny.smartrt"
Model = dict[str, int]  # id -> the seed of its vectors, in order


def documents(seeds: list[int]) -> Embeddings:
    """The document that belongs to each seed; every fifth one needs a scale of its own."""
    parts = [loud(1 + seed % 11, seed, 1.5 if seed % 5 == 0 else 1.0) for seed in seeds]
    return Embeddings.concatenate(parts)


def choose(rng: random.Random, held: list[str]) -> list:
    """A change that fits what is there: small indexes grow, large ones shrink."""
    kinds = ["add"] * (6 if len(held) < 12 else 2) + (["replace"] * 3 + ["delete"] * 4 + ["compact"] * 2) * bool(held)
    kind = rng.choice(kinds)
    some = rng.sample(held, min(len(held), rng.randint(1, 4)))
    if kind == "add":
        return [kind, [[f"{rng.getrandbits(40):x}", rng.getrandbits(20)] for _ in range(rng.randint(1, 4))]]
    if kind == "replace":
        return [kind, [[name, rng.getrandbits(20)] for name in some]]
    return [kind, some] if kind == "delete" else [kind]


def change(index: Index, kind: str, details: list = ()) -> None:
    """Do it to the index."""
    if kind in ("add", "replace"):
        ids, seeds = [name for name, _ in details], [seed for _, seed in details]
        index.add(ids, documents(seeds), seeds, replace=kind == "replace")
    elif kind == "delete":
        index.delete(details)
    else:
        index.compact()


def changed(model: Model, kind: str, details: list = ()) -> Model:
    """What it makes of the documents."""
    gone = {each if kind == "delete" else each[0] for each in details}
    kept = {name: seed for name, seed in model.items() if name not in gone}
    return kept | dict(details) if kind in ("add", "replace") else kept


def write(path: Path, seed: int, count: int | None) -> None:
    """Change the index at random, saying so before and after each change."""
    index, rng = Index.open(path), random.Random(seed)  # noqa: S311  (chance, no secret)
    for _ in itertools.count() if count is None else range(count):
        operation = choose(rng, index.ids())
        say({"try": operation})
        change(index, *operation)
        say({"done": index.manifest.generation})


def say(line: dict) -> None:
    """One line in one piece: a pipe never holds half of it."""
    os.write(1, f"{json.dumps(line)}\n".encode())


def replay(model: Model, lines: list[str]) -> tuple[list[Model], Model, dict[int, Model]]:
    """What a writer's lines allow: the acknowledged state and perhaps one more; the former; states by generation."""
    pending, states = None, {}
    for line in map(json.loads, lines):
        if "try" in line:
            pending = line["try"]
        else:
            model, pending = changed(model, *pending), None
            states[line["done"]] = model
    return [model] if pending is None else [model, changed(model, *pending)], model, states


def examine(path: Path, allowed: list[Model]) -> Model:
    """Open the index and compare all of it with the states that are allowed."""
    index = Index.open(path)
    index.check()
    held: Model = {}
    for segment in index.segments:
        for row in map(int, segment.alive):
            document, tokens = segment.document(row), segment.documents.tokens
            wanted = documents([document.meta])
            stored = tokens.exact(row)[: segment.lengths[row]]
            assert np.allclose(segment.documents.pooled[row], wanted.pooled[0], atol=1e-6), document
            assert np.linalg.norm(stored - wanted.tokens.values, axis=1).max() <= tokens.errors[row] < 5e-2, document
            held[document.id] = document.meta
    assert list(held) == index.ids(), "ids of two documents are the same"
    assert list(held.items()) in [list(model.items()) for model in allowed], f"{held} is none of {allowed}"
    found = index.search(embeddings([3]), k=10**6, threads=1)[0] if held else []
    assert {hit.id for hit in found} == set(held)
    return held


def kill_at_random(directory: Path, kills: int, seed: int) -> str:
    """Kill a writer at random moments; returns a summary."""
    path, rng = directory / "docs.index", random.Random(seed)  # noqa: S311  (chance, no secret)
    Index.create(path, Bundle.open(BUNDLE), IndexOptions(("int16", "int8", "float16", "float32")[seed % 4]))
    model: Model = {}
    acknowledged = unacknowledged = 0
    for number in range(kills):
        command = [sys.executable, __file__, "--write", str(path), "--seed", str(seed * 1000 + number)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            lines = [writer.stdout.readline()]
            time.sleep(rng.uniform(0, 0.1))
            writer.kill()
            lines += writer.stdout.readlines()
        assert writer.returncode == -signal.SIGKILL, f"kill {number}: the writer ended with {writer.returncode}"
        allowed, sure, states = replay(model, lines)
        model = examine(path, allowed)
        acknowledged += len(states)
        unacknowledged += list(model.items()) != list(sure.items())
    return f"{kills} kills: {acknowledged} acknowledged changes all there, {unacknowledged} unacknowledged ones as well"


def prepared(path: Path, options: IndexOptions | None = None) -> Index:
    """An index for which each of `STEPS` is work."""
    index = Index.create(path, Bundle.open(BUNDLE), options)
    change(index, "add", [["a", 1], ["b", 2], ["c", 3]])
    change(index, "add", [["d", 4], ["e", 5]])
    change(index, "delete", ["a"])
    return index


STEPS: dict[str, list] = {
    "add": ["add", [["x", 6], ["y", 7]]],
    "replace": ["replace", [["b", 8], ["d", 9], ["z", 10]]],
    "delete": ["delete", ["b", "e"]],
    "compact": ["compact"],
}


def kill_at_each_step(directory: Path) -> str:
    """Kill a writer before each thing it asks of the file system; returns a summary."""
    start = prepared(directory / "start.index").path
    options = IndexOptions(projection="pca", dim=4)
    empty = Index.create(directory / "empty.index", Bundle.open(BUNDLE), options).path
    plans = {name: (start, operation) for name, operation in STEPS.items()}
    plans["first add"] = (empty, ["add", [["x", 9], ["y", 8]]])
    kills = 0
    for name, (index, operation) in plans.items():
        steps = 0  # before a step is after the one before it
        while kill_at(shutil.copytree(index, directory / f"{name} {steps}"), operation, steps):
            steps += 1
        assert steps > 8, f"{name} has only {steps} steps"
        kills += steps
    return f"{kills} kills, one at each step: each left the state before or the state after"


def kill_at(path: Path, operation: list, step: int) -> bool:
    """Make the change in a fork that kills itself at a step; whether it came to that. Then look, and change again."""
    before = Index.open(path)
    if not (child := os.fork()):
        try:
            with broken(step, lambda: os.kill(os.getpid(), signal.SIGKILL), steps=WRITES + REMOVALS):
                change(before, *operation)
            os._exit(0)
        finally:  # never up into what belongs to the parent
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    killed = os.WIFSIGNALED(status)
    assert killed or status == 0, f"{operation} failed"
    model = dict.fromkeys(before.ids(), 0)
    states = [list(model), list(changed(model, *operation))]
    survivor = Index.open(path)
    survivor.check()
    assert survivor.ids() in (states if killed else states[1:]), (operation, step, survivor.ids())
    survivor.add(["after"], documents([7]))
    survivor.check()
    named = {entry.name: entry for entry in survivor.manifest.segments}
    others = {"index.json", "writer.lock"} | ({"projection.npy"} if survivor.manifest.projection else set())
    assert {entry.name for entry in path.iterdir()} == others | set(named), "something is left of what was killed"
    for name, entry in named.items():
        stones = {entry.deleted.name} if entry.deleted else set()
        assert {file.name for file in (path / name).iterdir()} == set(entry.files) | stones
    return killed


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=0, help="how often to kill a writer at a random moment")
    parser.add_argument("--steps", action="store_true", help="kill a writer before each step it takes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="be the writer of this index")
    parser.add_argument("--count", type=int, help="with --write: changes to make, without end if not given")
    options = parser.parse_args()
    if options.write:
        write(options.write, options.seed, options.count)
        return
    with tempfile.TemporaryDirectory() as directory:
        if options.steps:
            sys.stdout.write(f"{kill_at_each_step(Path(directory))}\n")
        if options.kills:
            sys.stdout.write(f"{kill_at_random(Path(directory), options.kills, options.seed)}\n")


if __name__ == "__main__":
    main()
