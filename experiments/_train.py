"""`symla train`: the options, filled in from a preset and checked, become a meta-training."""

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _results, _scale
from ._commands import say
from ._hosts import joined, parse_hosts
from ._loops import LOOPS, agent
from ._options import Train
from ._train_settings import command, folder, settings, task_specs

if TYPE_CHECKING:
    import meta
    import rl

_TEST_LIVES = 100


def train(options: Train) -> dict:
    """Carry out `symla train`.

    **Returns:**

    The settings, where the results are, and for each task how the learner does in unseen lives, if
    it finished.

    **Raises:** `ValueError` for a name or a number that cannot be, or a folder that holds another
    training.
    """
    how = settings(options)
    hosts = parse_hosts(options.coordinator, options.processes, options.process)
    devices = _scale.parse_devices(options.devices)
    memory = _scale.parse_memory(options.memory)
    out = folder(options, how)
    with joined(hosts, out, command(options, out)):
        if devices is not None:
            _scale.use_cpu_devices(devices)
        elif hosts is not None:
            _scale.use_cpu_devices(1)  # the exchange between CPUs is not reliable with more
        else:
            _scale.use_all_cores()
        import jax

        with jax.default_matmul_precision(how["precision"]):
            return _train(options, how, out, devices, memory)


def _train(options: Train, how: dict, out: Path, share: int | None, memory: int | None) -> dict:
    import jax
    import jax.random as jr

    import meta

    from . import _builders, _evaluate

    first = jax.process_index() == 0
    curriculum = _curriculum(how)
    lessons = _lessons(options, how) if curriculum is None else curriculum.stages[-1].lessons
    stages = [] if curriculum is None else curriculum.stages
    parts, of_what = (
        (math.gcd(*(stage.strategy.population // 2 for stage in stages)), "pairs of members")
        if stages
        else LOOPS[how["outer_loop"]].parts(how)
    )
    devices, note = _scale.choose_devices(share, parts, of_what)
    if first and note is not None:
        say(note)
    init_key, train_key = jr.split(jr.key(options.seed))
    learner = _newborn(options, how, lessons[0].tasks.spaces, init_key)
    for lesson in lessons:
        _evaluate.check_fits(learner, lesson.tasks)
    if first:
        _say_what_is_done(out, how)
    running: dict[str, Any] = {
        "key": train_key,
        "devices": devices,
        "memory": memory,
        "out": out,
        "chunk": how["chunk"],
        "test_lives": _TEST_LIVES,
        "progress": True,
        "tensorboard": options.tensorboard,
    }
    if curriculum is None:
        result = _train_tasks(learner, lessons, how, options.test_every, running)
        results = [result]
    else:
        try:
            result = meta.train_curriculum(learner, curriculum, **running)
        except meta.NotReachedError as error:
            raise ValueError(str(error)) from error
        results = result.stages
    if not first:
        jax.distributed.shutdown()
        raise SystemExit(0 if result.finished else 130)
    last = results[-1]
    summary: dict = {
        **how,
        "finished": result.finished,
        "generations_done": sum(int(one.state.generation) for one in results),
        "seconds": round(sum(one.seconds for one in results), 3),
        "compile_seconds": round(sum(one.compile_seconds for one in results), 3),
        "devices": last.devices,
        "processes": jax.process_count(),
        "at_once": None if last.portion is None else last.portion._asdict(),
        "bytes_per_device": last.memory,
        "out": str(out),
        "learner_file": str(out / "learner.symla"),
        "resume": None if result.finished else command(options, out),
        "versions": _builders.versions(),
    }
    if result.finished:
        loop = LOOPS[how.get("outer_loop", "evolution")]
        lived = [one["steps"] for one in how.get("lessons", ())] or [x.steps for x in lessons]
        summary["tests"] = {
            str(lesson.name): _evaluate.report(
                result.learner,
                lesson.tasks,
                steps=steps,
                lives=loop.test_lives,
                seed=options.seed,
            )
            for lesson, steps in zip(lessons, lived, strict=True)
        }
        kept = {k: summary[k] for k in ("generations_done", "tests")}
        meta.save(out / "learner.symla", result.learner, {**how, **kept})
    _results.write_json(out / "train.json", summary)
    return summary


def _curriculum(how: dict) -> "meta.Curriculum | None":
    if "curriculum" not in how:
        return None
    from ._curricula import CURRICULA

    return CURRICULA[how["curriculum"]](how["preset"])


def _lessons(options: Train, how: dict) -> "tuple[meta.Lesson, ...]":
    """What is lived in each generation, in the names of the command line."""
    import meta

    from . import _builders

    return tuple(
        meta.Lesson(
            _builders.make_tasks(spec),
            LOOPS[how["outer_loop"]].lived(lesson["steps"]),
            how["lives"],
            fitness=meta.negative_regret if lesson["fitness"] == "regret" else meta.total_reward,
            name=spec.text,
        )
        for spec, lesson in zip(task_specs(options), how["lessons"], strict=True)
    )


def _newborn(options: Train, how: dict, spaces: "rl.Spaces", key) -> "rl.Learner":
    """The learner where the search starts."""
    from . import _builders

    if options.start is not None:
        return _builders.load_learner(options.start)
    choices = {name: how[name] for name in ("reduction", "normalise") if how[name] is not None}
    if how.get("outer_loop") == "critics":
        choices = agent(how)
    return _builders.make_learner(how["learner"], how["hidden_size"], spaces, choices, key=key)


def _say_what_is_done(out: Path, how: dict) -> None:
    import meta

    if (out / "checkpoint.symla").exists():
        done = meta.read_header(out / "checkpoint.symla").get("generation", 0)
        say(f"Going on in {out}, where {done} of {how['generations']} generations are done.")
    elif (out / "curriculum.json").exists():
        say(f"Going on in {out}, where a curriculum has begun.")


def _train_tasks(
    learner: "rl.Learner",
    lessons: "Sequence[meta.Lesson]",
    how: dict,
    test_every: int,
    running: dict[str, Any],
) -> "meta.TrainResult":
    """One meta-training on one task, or on several at once."""
    import meta

    one = lessons[0]
    tested = test_every if "test_every" in LOOPS[how["outer_loop"]].options else 0
    alone = {"steps": one.steps, "lives": one.lives, "fitness": one.fitness}
    tests = {str(lesson.name): lesson.tasks for lesson in lessons}
    if len(lessons) == 1:
        tests = {"held-out": one.tasks}
    return meta.train(
        learner,
        one.tasks if len(lessons) == 1 else lessons,
        LOOPS[how["outer_loop"]].strategy(how),
        **(alone if len(lessons) == 1 else {}),
        generations=how["generations"],
        tests=tests if tested else None,
        test_every=tested,
        **running,
    )


def show_train(result: dict) -> None:
    """Where everything is, and how good it is; or how to go on."""
    if not result["finished"]:
        of = f" of {result['generations']}" if "generations" in result else ""
        say(
            f"Stopped after {result['generations_done']}{of} generations. To go on: "
            f"{result['resume']}"
        )
        return
    if result["at_once"] is not None:
        at_once, needed = result["at_once"], _scale.show_bytes(result["bytes_per_device"])
        members = f"{at_once['members']} members x " if at_once["members"] > 1 else ""
        each = f"{members}{at_once['lives']} lives at once, in {needed}."
        count = result["devices"]
        say(f"One device, with {each}" if count == 1 else f"{count} devices, each with {each}")
    from ._evaluate import show_report

    for task, test in result["tests"].items():
        show_report(f"{result['learner']} on {task}, unseen", test)
    say(f"In {result['out']}: learner.symla, metrics, checkpoints, train.json.")
    if result["learner"] != "metarnn" and "arms" in result:  # whose sizes are fixed
        out = shlex.quote(result["out"])
        say(f"Try it on another size: symla evaluate --learner {out} --arms 12")
