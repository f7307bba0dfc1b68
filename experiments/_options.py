"""The options of each command. Nothing heavy is imported here: this is all that --help reads."""

import dataclasses
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ._figures import FIGURES
from ._loops import LOOPS
from ._names import (
    BENCH_CASES,
    BENCH_PRESETS,
    COMMON_RANDOM_NUMBERS,
    FITNESSES,
    LISTS,
    NORMALISATIONS,
    PRECISIONS,
    REDUCTIONS,
    SHAPINGS,
    TRAINABLE,
)
from ._presets import PRESETS


def _one_of(*names: str) -> str:
    return "{" + ",".join(names) + "}"


def _preset(field: str, metavar: str, more: str = "") -> object:
    """An option whose default is the preset's; the help shows all of them."""
    values = ", ".join(f"{name} {getattr(preset, field)}" for name, preset in PRESETS.items())
    return arg(metavar=metavar, help_behavior_hint=f"(default: {values}{more})")


_ELSE = "; others: symla list outer-loops"
_TASK = "NAME[:KEY=VALUE,...][+WRAPPER[=VALUE]]..."
_ARMS = arg(metavar="N|N-M", help_behavior_hint="(default: 2)")
_STEPS = arg(metavar="N", help_behavior_hint="(default: 100 for bandits, 500 for others)")
_LEARNER = "PLAYER|pretrained:NAME|PATH"
_JSON = arg(name="json", help_behavior_hint="(default: off)")


@dataclasses.dataclass(frozen=True)
class Demo:
    """Meta-train SymLA from scratch, then watch it learn on bandits it never saw.

    Takes a few minutes on two cores. Stopped with Ctrl-C, the same command goes on.
    """

    out: Annotated[Path, arg(metavar="DIR")] = Path("symla-demo")
    """Folder for the figure (demo.png), the learner, the numbers and the checkpoint."""
    generations: Annotated[int, arg(metavar="N")] = 300
    """Generations of meta-training in all."""
    seed: Annotated[int, arg(metavar="N")] = 0
    """Random seed of the meta-training and, in a stream of its own, of the test."""
    json_output: Annotated[bool, _JSON] = False
    """Print exactly one JSON object on standard output, and all else on standard error."""


@dataclasses.dataclass(frozen=True)
class Train:
    """Meta-train a learner: make it learn better within its life.

    By evolution, one generation perturbs the learner into a population, lets each member live its
    lives, and moves it towards the better members. Other outer loops follow gradients; see symla
    list outer-loops. The preset gives the defaults; any option overrides it.
    """

    learner: Annotated[str | None, _preset("learner", _one_of(*TRAINABLE))] = None
    """What is meta-trained."""
    start: Annotated[
        str | None,
        arg(name="from", metavar="pretrained:NAME|PATH", help_behavior_hint="(default: anew)"),
    ] = None
    """A meta-trained learner to go on from, instead of --learner."""
    outer_loop: Annotated[
        str | None,
        arg(
            metavar=_one_of(*LOOPS),
            help_behavior_hint="(default: evolution; critics for --learner metagenrl)",
        ),
    ] = None
    """What meta-trains it: evolution; actor-critic gradients through whole lives, plain or clipped;
    or critics that judge a learned objective."""
    task: Annotated[tuple[str, ...], arg(metavar=f"{_TASK} ...")] = ("bandit-independent",)
    """What it lives in, drawn anew for each life: see symla list tasks. With several tasks, each
    generation lives all of them, and each counts by the ranks of its own scores."""
    curriculum: Annotated[
        str | None, arg(metavar="NAME", help_behavior_hint="(default: none, but --task)")
    ] = None
    """Instead of tasks: stages of them that are ready-made, with their own budgets; see symla list
    curricula."""
    arms: Annotated[str | None, _ARMS] = None
    """How many arms bandits have: 8, for example, or 2-12 for a number drawn for each life."""
    steps: Annotated[int | None, _STEPS] = None
    """Environment steps in a life."""
    preset: Annotated[str, arg(metavar=_one_of(*PRESETS))] = "laptop"
    """How much to spend: the defaults of the options that say so."""
    generations: Annotated[int | None, _preset("generations", "N", _ELSE)] = None
    """Generations in all, those of earlier runs in --out included."""
    population: Annotated[int | None, _preset("population", "N")] = None
    """Members of each generation; even, they come in antithetic pairs."""
    lives: Annotated[int | None, _preset("lives", "N", _ELSE)] = None
    """Lives of each member in each generation, on each task; by critics, agents that live on."""
    std: Annotated[float | None, _preset("std", "X")] = None
    """Standard deviation of the perturbations, in units of the parameters."""
    learning_rate: Annotated[float | None, _preset("learning_rate", "X", _ELSE)] = None
    """Learning rate of Adam, in units of the parameters per update."""
    discount: Annotated[
        float | None, arg(metavar="X", help_behavior_hint="(default: see symla list outer-loops)")
    ] = None
    """What a reward is worth an environment step later, to all outer loops but evolution."""
    fitness: Annotated[str | None, _preset("fitness", _one_of(*FITNESSES))] = None
    """What is maximised: minus the expected regret of a life (less noise), which only bandits have,
    or its total reward, the default on other tasks."""
    shaping: Annotated[str, arg(metavar=_one_of(*SHAPINGS))] = "rank"
    """What is made of the members' fitness: centred ranks, z-scores, or nothing."""
    common_random_numbers: Annotated[str, arg(metavar=_one_of(*COMMON_RANDOM_NUMBERS))] = (
        "population"
    )
    """Which members live the same lives: all of the population, those of a pair, or none."""
    hidden_size: Annotated[int | None, _preset("hidden_size", "N")] = None
    """Units of each cell of SymLA; of the one LSTM of metarnn, where the default is always 48."""
    reduction: Annotated[
        str | None,
        arg(
            metavar=_one_of(*REDUCTIONS),
            help_behavior_hint="(default: mean; scaled with --curriculum)",
        ),
    ] = None
    """How symla pools messages: mean, sum, or scaled, the sum over the square root of the count."""
    normalise: Annotated[
        str | None,
        arg(metavar=_one_of(*NORMALISATIONS), help_behavior_hint="(default: none)"),
    ] = None
    """What symla makes of each sensor: nothing, or its mean and deviation so far divided out."""
    chunk: Annotated[int, arg(metavar="N")] = 10
    """Generations between two checkpoints; Ctrl-C acts after the chunk under way."""
    test_every: Annotated[int, arg(metavar="N")] = 50
    """Generations between two tests of 100 held-out lives on the same task; 0 for none."""
    precision: Annotated[str, arg(metavar=_one_of(*PRECISIONS))] = "float32"
    """Of products of matrices on an accelerator; less than float32 is faster and may differ."""
    out: Annotated[
        Path | None,
        arg(metavar="DIR", help_behavior_hint="(default: runs/LEARNER-TASK-PRESET-SEED)"),
    ] = None
    """Folder for learner, metrics and checkpoint. The same training, if it is there, is resumed."""
    devices: Annotated[str, arg(metavar="all|N")] = "all"
    """Devices of JAX that share the work of a generation; on a CPU, all is one for each core."""
    memory: Annotated[
        str | None, arg(metavar="SIZE", help_behavior_hint="(default: as much as it takes)")
    ] = None
    """Memory that the program may need on each device, such as 8GB; what does not fit waits."""
    coordinator: Annotated[
        str | None, arg(metavar="HOST:PORT", help_behavior_hint="(default: one process alone)")
    ] = None
    """Where process 0 of several listens; give it to each of them. See docs/scaling.md."""
    processes: Annotated[
        int | None, arg(metavar="N", help_behavior_hint="(default: one process alone)")
    ] = None
    """How many processes share the work of a generation."""
    process: Annotated[
        int | None, arg(metavar="I", help_behavior_hint="(default: one process alone)")
    ] = None
    """The number of this process, from 0; 0 writes the files."""
    tensorboard: Annotated[bool, arg(help_behavior_hint="(default: off)")] = False
    """Write TensorBoard's event files, too; needs the extra: pip install 'symla[tb]'."""
    seed: Annotated[int, arg(metavar="N")] = 0
    """Random seed of the initial parameters and of the meta-training."""
    json_output: Annotated[bool, _JSON] = False
    """Print exactly one JSON object on standard output, and all else on standard error."""


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Meta-test a learner: its reward over many lives that no training saw, and whether it learns.

    It learns if it earns more in the last tenth of its life than in the first. Three controls live
    the same lives: itself with its rewards shuffled in time, which keeps their number and takes
    away what they tell; itself, learning no more after a while; and a random player.

    The random keys of the lives come from the stream 0x7e57 of the seed,
    jax.random.fold_in(jax.random.key(seed), 0x7e57), which no meta-training uses. So all learners
    are tested on the same tasks, and the test is unseen even where the seeds are equal.
    """

    learner: Annotated[str, arg(metavar=_LEARNER)]
    """A player (see symla list), one that ships with symla, a .symla file, a training's folder."""
    task: Annotated[str, arg(metavar=_TASK)] = "bandit-independent"
    """What it lives in, drawn anew for each life: see symla list tasks."""
    arms: Annotated[str | None, _ARMS] = None
    """How many arms the bandit has: 12, for example, or 2-12 for a number drawn for each life."""
    lives: Annotated[int, arg(metavar="N")] = 1000
    """Lives, each on a task of its own."""
    steps: Annotated[int | None, _STEPS] = None
    """Environment steps in a life."""
    controls: Annotated[bool, arg(help_behavior_hint="(default: they live)")] = True
    """Leave the controls out. Players made by hand have none."""
    frozen: Annotated[tuple[float, ...], arg(metavar="X ...")] = (0.1, 0.5)
    """After which shares of its life the control learns no more."""
    out: Annotated[
        Path | None, arg(metavar="FILE", help_behavior_hint="(default: not written)")
    ] = None
    """File for the result as JSON."""
    seed: Annotated[int, arg(metavar="N")] = 0
    """Random seed of the lives."""
    json_output: Annotated[bool, _JSON] = False
    """Print exactly one JSON object on standard output, and all else on standard error."""


@dataclasses.dataclass(frozen=True)
class Watch:
    """Watch one life of a learner: an animation of what it sees, does, earns and remembers.

    The life is the first of those that symla evaluate gives with the same seed. Shown are the
    environment, the reward so far, and the state of the learner; of a SymLA, that of each cell.
    """

    learner: Annotated[str, arg(metavar=_LEARNER)]
    """A player (see symla list), one that ships with symla, a .symla file, a training's folder."""
    task: Annotated[str, arg(metavar=_TASK)] = "bandit-independent"
    """What it lives in: see symla list tasks."""
    arms: Annotated[str | None, _ARMS] = None
    """How many arms the bandit has: 12, for example, or 2-12 for a number drawn for each life."""
    steps: Annotated[int, arg(metavar="N")] = 500
    """Environment steps in the life."""
    every: Annotated[
        int | None, arg(metavar="N", help_behavior_hint="(default: so that about 150 are drawn)")
    ] = None
    """Environment steps between two frames."""
    fps: Annotated[int, arg(metavar="N")] = 15
    """Frames in a second, 50 at most."""
    out: Annotated[Path, arg(metavar="FILE")] = Path("life.gif")
    """File for the animation, a GIF."""
    seed: Annotated[int, arg(metavar="N")] = 0
    """Random seed of the task and the life."""
    json_output: Annotated[bool, _JSON] = False
    """Print exactly one JSON object on standard output, and all else on standard error."""


@dataclasses.dataclass(frozen=True)
class Matrix:
    """How general is a learner? Score learners on tasks, each with each: the generalisation matrix.

    A score is the mean reward per step, the interquartile mean over lives, with a bootstrap
    interval of 95 % (Agarwal et al. 2021). Beside it is the score between that of a random player
    (0) and that of the best learner of the same test (1). Learners of a fixed size get an empty
    cell where they do not fit. What is finished is kept: the same command goes on.
    """

    learners: Annotated[
        tuple[str, ...], arg(metavar="[NAME=]LEARNER ...", help_behavior_hint="(default: none)")
    ] = ()
    """Learners as for symla evaluate. Those with the same NAME are seeds of one row."""
    train: Annotated[
        tuple[str, ...], arg(metavar="TASK ...", help_behavior_hint="(default: none)")
    ] = ()
    """Tasks to meta-train learners on, one row for each; in --out, so that they are kept."""
    tests: Annotated[tuple[str, ...], arg(metavar="standard|TASK ...")] = ("standard",)
    """Tasks to test on; see symla list tasks. standard: sizes from 2 to 64, permutations,
    projections and every environment."""
    learner: Annotated[str | None, _preset("learner", _one_of(*TRAINABLE))] = None
    """With --train: what is meta-trained."""
    preset: Annotated[str, arg(metavar=_one_of(*PRESETS))] = "laptop"
    """With --train: how much to spend, as for symla train."""
    generations: Annotated[int | None, _preset("generations", "N", _ELSE)] = None
    """With --train: generations of each meta-training."""
    seeds: Annotated[int, arg(metavar="N")] = 1
    """With --train: meta-trainings on each task, from --seed on."""
    lives: Annotated[int, arg(metavar="N")] = 100
    """Lives of each learner in each test."""
    steps: Annotated[int | None, _STEPS] = None
    """Environment steps in a life of a test."""
    out: Annotated[Path, arg(metavar="DIR")] = Path("symla-matrix")
    """Folder for the heat map (matrix.png), the scores (matrix.json, matrix.csv), the trainings."""
    seed: Annotated[int, arg(metavar="N")] = 0
    """Random seed of the tests, and the first of the meta-trainings."""
    json_output: Annotated[bool, _JSON] = False
    """Print exactly one JSON object on standard output, and all else on standard error."""


@dataclasses.dataclass(frozen=True)
class Reproduce:
    """Reproduce a figure of the papers, and say which of the paper's claims hold here.

    Can take hours. What is finished is kept: the same command goes on where it was stopped.
    """

    figure: Annotated[Positional[str], arg(metavar=_one_of(*FIGURES))]
    """Which figure."""
    preset: Annotated[str, arg(metavar=_one_of(*PRESETS))] = "laptop"
    """How much to spend: laptop takes from minutes to some three hours on two cores."""
    out: Annotated[
        Path | None, arg(metavar="DIR", help_behavior_hint="(default: docs/results/FIGURE)")
    ] = None
    """Folder for the figure (PNG), the numbers (JSON, CSV) and the trainings."""
    seed: Annotated[int, arg(metavar="N")] = 0
    """The first random seed of the meta-trainings; the others follow it."""
    json_output: Annotated[bool, _JSON] = False
    """Print exactly one JSON object on standard output, and all else on standard error."""


@dataclasses.dataclass(frozen=True)
class Certify:
    """Prove that a learner, a layer, a network or a function of yours is equivariant.

    Equivariant: reorder its sensors, actions or units, and the result is reordered likewise.

    PROVED holds for every permutation, input and size. REFUTED comes with a counter-example.

    For example: symla certify my_layer:step, for `step` in my_layer.py of this folder.

    Ends in status 0 if PROVED, 1 if REFUTED or UNKNOWN, 2 for a mistake. See docs/proofs.md.
    """

    target: Annotated[
        Positional[str | None],
        arg(metavar="MODULE:NAME|LEARNER|PATH", help_behavior_hint="(default: none)"),
    ] = None
    """An object in a module; or a learner: see symla list, pretrained:NAME, or a .symla file.
    Functions need @proofs.equivariant over them; layers, networks and learners need nothing."""
    table: Annotated[bool, arg(help_behavior_hint="(default: off)")] = False
    """Instead of a target: table 1 of the SymLA paper, decided by the program for every learner."""
    json_output: Annotated[bool, _JSON] = False
    """Print exactly one JSON object on standard output, and all else on standard error."""


@dataclasses.dataclass(frozen=True)
class Bench:
    """Measure how fast this machine meta-trains SymLA, beside a rival and beside its floor.

    Timed are whole generations: all lives, learning and environment included, and the evolution.
    The rival does the same work as one would write it with Equinox's LSTM cell under nested vmap,
    gymnax and evosax. First the two are checked to compute the same numbers; then they are
    compiled, and timed in turns. The floor is what the machine's measured arithmetic allows.
    """

    preset: Annotated[str, arg(metavar=_one_of(*BENCH_PRESETS))] = "laptop"
    """How large the generations are: laptop takes a few minutes on two cores."""
    cases: Annotated[str, arg(metavar=f"all|{','.join(BENCH_CASES)}")] = "all"
    """Which cases, with commas between them."""
    rounds: Annotated[int, arg(metavar="N")] = 7
    """Rounds in which ours and the rival take turns; the ratio is their median."""
    growth: Annotated[bool, arg(help_behavior_hint="(default: off)")] = False
    """Instead: how time and memory grow with cells, layers, members, lives and steps."""
    out: Annotated[
        Path | None, arg(metavar="FILE", help_behavior_hint="(default: not written)")
    ] = None
    """File for the result as JSON; python -m benchmarks.plots FILE draws it."""
    json_output: Annotated[bool, _JSON] = False
    """Print exactly one JSON object on standard output, and all else on standard error."""


@dataclasses.dataclass(frozen=True)
class List:
    """List the names that the other commands take."""

    what: Annotated[Positional[str], arg(metavar=_one_of(*LISTS, "all"))] = "all"
    """Which names."""
    json_output: Annotated[bool, _JSON] = False
    """Print exactly one JSON object on standard output, and all else on standard error."""


Options = Demo | Train | Evaluate | Matrix | Reproduce | Certify | Watch | Bench | List
