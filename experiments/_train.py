"""`symla train`: the options, filled in from a preset and checked, become a meta-training."""

import json
import shlex
from pathlib import Path

from . import _scale
from ._commands import say
from ._hosts import joined, parse_hosts
from ._names import (
    COMMON_RANDOM_NUMBERS,
    FITNESSES,
    PRECISIONS,
    SHAPINGS,
    TASKS,
    TRAINABLE,
    check_arms,
    check_at_least_one,
    choose,
    parse_arms,
    show_arms,
)
from ._options import Train
from ._presets import PRESETS

_METARNN_HIDDEN_SIZE = 48
_TEST_LIVES, _FINAL_LIVES = 100, 1000


def settings(options: Train) -> dict:
    """What will be trained and how: the options, and the preset's numbers where they are silent.

    Everything that can be wrong is refused here, before JAX is imported.

    **Raises:** `ValueError` for a name or a number that cannot be.
    """
    preset = PRESETS[choose("preset", options.preset, PRESETS)]

    def given(name: str):
        value = getattr(options, name)
        return getattr(preset, name) if value is None else value

    learner = choose("learner", given("learner"), TRAINABLE)
    hidden_size = given("hidden_size")
    if learner == "metarnn" and options.hidden_size is None:
        hidden_size = _METARNN_HIDDEN_SIZE
    task, arms = choose("task", options.task, TASKS), parse_arms(options.arms)
    check_arms(task, arms)
    numbers = {
        "steps": options.steps,
        "generations": given("generations"),
        "population": given("population"),
        "lives": given("lives"),
        "hidden_size": hidden_size,
        "chunk": options.chunk,
    }
    check_at_least_one(**numbers)
    if numbers["population"] % 2:
        raise ValueError(
            f"`--population` must be even, because members come in antithetic pairs; got "
            f"{numbers['population']}. Try {numbers['population'] + 1}."
        )
    if options.test_every < 0:
        raise ValueError(f"`--test-every` must be at least 0 (never), got {options.test_every}.")
    rates = {"std": given("std"), "learning_rate": given("learning_rate")}
    for name, value in rates.items():
        if not 0 < value < float("inf"):
            raise ValueError(f"`--{name.replace('_', '-')}` must be above 0, got {value}.")
    common = options.common_random_numbers
    return {
        "learner": learner,
        "task": task,
        "arms": show_arms(arms),
        **numbers,
        **rates,
        "fitness": choose("fitness", given("fitness"), FITNESSES),
        "shaping": choose("shaping", options.shaping, SHAPINGS),
        "common_random_numbers": choose(
            "kind of common random numbers", common, COMMON_RANDOM_NUMBERS
        ),
        "precision": choose("precision", options.precision, PRECISIONS),
        "preset": options.preset,
        "seed": options.seed,
    }


def train(options: Train) -> dict:
    """Carry out `symla train`.

    **Returns:**

    The settings, where the results are, and the regret over unseen lives, if it finished.

    **Raises:** `ValueError` for a name or a number that cannot be, or a folder that holds another
    training.
    """
    how = settings(options)
    hosts = parse_hosts(options.coordinator, options.processes, options.process)
    devices = _scale.parse_devices(options.devices)
    memory = _scale.parse_memory(options.memory)
    name = "-".join(str(how[k]) for k in ("learner", "task", "arms", "preset", "seed"))
    out = options.out or Path("runs") / name
    with joined(hosts, out, _command(options, out)):
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
    import optax

    import meta

    from . import _builders

    first = jax.process_index() == 0
    devices, note = _scale.choose_devices(share, how["population"])
    if first and note is not None:
        say(note)
    tasks = _builders.make_tasks(how["task"], parse_arms(options.arms))
    strategy = meta.EvolutionStrategy(
        how["population"],
        how["std"],
        optax.adam(how["learning_rate"]),
        shaping=how["shaping"],
        common_random_numbers=how["common_random_numbers"],
    )
    init_key, train_key = jr.split(jr.key(options.seed))
    learner = _builders.make_learner(how["learner"], how["hidden_size"], tasks.spaces, key=init_key)
    checkpoint = out / "checkpoint.symla"
    if first and checkpoint.exists():
        done = meta.read_header(checkpoint).get("generation", 0)
        say(f"Going on in {out}, where {done} of {how['generations']} generations are done.")
    result = meta.train(
        learner,
        tasks,
        strategy,
        steps=how["steps"],
        lives=how["lives"],
        generations=how["generations"],
        key=train_key,
        fitness=meta.negative_regret if how["fitness"] == "regret" else meta.total_reward,
        devices=devices,
        memory=memory,
        out=out,
        chunk=how["chunk"],
        tests={"held-out": tasks} if options.test_every else None,
        test_every=options.test_every,
        test_lives=_TEST_LIVES,
        progress=True,
        tensorboard=options.tensorboard,
    )
    if not first:
        jax.distributed.shutdown()
        raise SystemExit(0 if result.finished else 130)
    summary: dict = {
        **how,
        "finished": result.finished,
        "generations_done": int(result.state.generation),
        "seconds": round(result.seconds, 3),
        "compile_seconds": round(result.compile_seconds, 3),
        "devices": result.devices,
        "processes": jax.process_count(),
        "at_once": None if result.portion is None else result.portion._asdict(),
        "bytes_per_device": result.memory,
        "out": str(out),
        "learner_file": str(out / "learner.symla"),
        "resume": None if result.finished else _command(options, out),
        "versions": _builders.versions(),
    }
    if result.finished:
        summary["test"] = {
            "lives": _FINAL_LIVES,
            "seed": options.seed,
            **_builders.meta_test(
                result.learner, tasks, steps=how["steps"], lives=_FINAL_LIVES, seed=options.seed
            ),
        }
        kept = {k: summary[k] for k in ("generations_done", "test")}
        meta.save(out / "learner.symla", result.learner, {**how, **kept})
    (out / "train.json").write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n")
    return summary


def show_train(result: dict) -> None:
    """Where everything is, and how good it is; or how to go on."""
    if not result["finished"]:
        say(
            f"Stopped after {result['generations_done']} of {result['generations']} generations. "
            f"To go on: {result['resume']}"
        )
        return
    if result["at_once"] is not None:
        at_once, needed = result["at_once"], _scale.show_bytes(result["bytes_per_device"])
        say(
            f"{result['devices']} devices, each with {at_once['members']} members x "
            f"{at_once['lives']} lives at once, in {needed}."
        )
    test = result["test"]
    regret = f"{test['regret_mean']:.3f} ± {test['regret_sem']:.3f}"
    say(
        f"{result['learner']} on {result['task']} with {result['arms']} arms: mean regret {regret} "
        f"over {test['lives']} unseen lives of {result['steps']} pulls (lower is better)."
    )
    say(f"In {result['out']}: learner.symla, metrics.jsonl, checkpoint.symla, train.json.")
    if result["learner"] != "metarnn":  # whose sizes are fixed
        folder = shlex.quote(result["out"])
        say(f"Try it on another size: symla evaluate --learner {folder} --arms 12")


def _command(options: Train, out: Path) -> str:
    """A command line that goes on with a training."""
    words = ["symla", "train"]
    for name, value in vars(options).items():
        option = "--json" if name == "json_output" else f"--{name.replace('_', '-')}"
        if name == "out":
            words += [option, str(out)]
        elif value is True:
            words.append(option)
        elif value is not None and value is not False and value != getattr(Train, name, None):
            words += [option, str(value)]
    return shlex.join(words)
