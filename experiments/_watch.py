"""The command `symla watch`: one life of a learner as an animation."""

import os
import time
from pathlib import Path

import jax.random as jr

from . import _builders
from ._names import check_at_least_one
from ._options import Watch
from ._tasks import parse_task
from ._watch_life import moments

_FRAMES = 150
_MOST_FPS = 50  # viewers play anything faster at some speed of their own


def watch(options: Watch) -> dict:
    """Carry out `symla watch`.

    **Raises:** `ValueError` for a name, a number or a file that cannot be.
    """
    began = time.perf_counter()
    spec = parse_task(options.task, options.arms)
    every = -(-options.steps // _FRAMES) if options.every is None else options.every
    check_at_least_one(steps=options.steps, every=every, fps=options.fps)
    if options.fps > _MOST_FPS:
        raise ValueError(
            f"`--fps` must be at most {_MOST_FPS}, the fastest that viewers of GIF files play; got "
            f"{options.fps}. Raise --every for a faster animation."
        )
    _check_file(options.out)
    tasks = _builders.make_tasks(spec)
    learner = _builders.find_learner(options.learner, spec, options.steps)
    # The first of the lives of `symla evaluate` with this seed.
    task_key, life_key = jr.split(jr.split(_builders.test_key(options.seed), 1)[0])
    task = tasks.sample(key=task_key)
    lived = list(moments(learner, task, steps=options.steps, every=every, key=life_key))
    from ._watch_figure import LifeFigure

    title = f"{options.learner} in {spec.text}"
    LifeFigure(title, task, lived).save(options.out, fps=options.fps)
    return {
        "learner": options.learner,
        "task": spec.text,
        "steps": options.steps,
        "seed": options.seed,
        "every": every,
        "fps": options.fps,
        "frames": len(lived),
        "total_reward": float(sum(moment.rewards.sum() for moment in lived)),
        "episodes": int(sum(moment.ended.sum() for moment in lived)),
        "out": str(options.out),
        "seconds": round(time.perf_counter() - began, 3),
    }


def show_watch(result: dict) -> None:
    """Where the animation is, and what it shows."""
    from ._commands import say

    say(
        f"{result['out']}: {result['frames']} frames of a life of {result['steps']} steps, "
        f"{result['total_reward']:.1f} reward in all, {result['episodes']} episodes ended."
    )


def _check_file(path: Path) -> None:
    """Refuse a file that could not be written, before anything is computed."""
    if path.suffix.lower() != ".gif":
        raise ValueError(f"`--out` must be a file that ends in .gif, got {path}.")
    if path.is_dir():
        raise ValueError(f"`--out` must be a file, but {path} is a folder.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writable = os.access(path if path.exists() else path.parent, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise ValueError(f"`--out`: {path} cannot be written. Choose another folder.")
