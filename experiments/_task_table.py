"""The tasks and wrappers that the command line knows, and what can be said of each.

A new environment is one entry. Nothing here needs JAX.
"""

from ._task_entries import Option, TaskEntry, WrapperEntry


def _bandit(kind: str, description: str) -> TaskEntry:
    arms = Option("2", "how many arms", "counts", least=1)
    return TaskEntry(
        description,
        "BernoulliBandits",
        {"arms": arms} if kind == "independent" else {},
        fixed={"kind": kind},
        steps=100,
        metrics=("regret",),
    )


def _control(
    description: str, factory: str, rewards: tuple[str, ...], episode: int, metric: str, **numbers
) -> TaskEntry:
    """An environment of classic control, with a default and a line on each of its parameters."""
    return TaskEntry(
        description,
        factory,
        {"reward": Option(rewards[0], "which reward", "choice", choices=rewards)},
        {
            **{name: Option(value, text, "numbers") for name, (value, text) in numbers.items()},
            "steps_in_episode": _episode(str(episode)),
        },
        metrics=(metric,),
    )


def _episode(default: str) -> Option:
    return Option(default, "steps until an episode is cut off", least=1)


def _grid(description: str, factory: str, metrics: tuple[str, ...], **things: str) -> TaskEntry:
    rewards = {name: text for name, text in things.items() if name.endswith("_reward")}
    return TaskEntry(
        description,
        factory,
        {
            "size": Option("5", "cells along one side", least=2),
            **{k: Option(v, "how many", least=0) for k, v in things.items() if k not in rewards},
            "observation": Option("image", "what is seen", "choice", choices=("image", "compass")),
        },
        {
            **{name: Option(text, "what it pays", "numbers") for name, text in rewards.items()},
            "steps_in_episode": _episode("4 x size"),
        },
        metrics=metrics,
    )


def _body(name: str, description: str) -> TaskEntry:
    """A body of brax."""
    return TaskEntry(
        f"{description}; a body of brax (extra brax)",
        "Brax",
        {
            "backend": Option(
                "generalized",
                "the physics",
                "choice",
                choices=("generalized", "positional", "spring"),
            )
        },
        {
            "mass": Option("1", "of all parts, as a multiple", "numbers"),
            "strength": Option("1", "of the motors, as a multiple", "numbers"),
            "friction": Option("1", "of all surfaces, as a multiple", "numbers"),
            "gravity": Option("9.81", "m/s^2", "numbers"),
            "slope": Option("0", "of the ground, rise over run", "numbers"),
            "steps_in_episode": _episode("1000"),
        },
        fixed={"body": name},
        metrics=("falls",),
    )


_REWARDS = ("dense", "sparse", "gym")
TASKS: dict[str, TaskEntry] = {
    "bandit-independent": _bandit("independent", "any number of arms, each p ~ U[0, 1]"),
    "bandit-uniform": _bandit("uniform", "2 dependent arms, p1 ~ U[0, 1], p2 = 1 - p1"),
    "bandit-easy": _bandit("easy", "2 dependent arms, p1 is 0.1 or 0.9, p2 = 1 - p1"),
    "bandit-medium": _bandit("medium", "2 dependent arms, p1 is 0.25 or 0.75, p2 = 1 - p1"),
    "bandit-hard": _bandit("hard", "2 dependent arms, p1 is 0.4 or 0.6, p2 = 1 - p1"),
    "contextual-bandit": TaskEntry(
        "which action is right depends on Gaussian sensors, by a rule of each life",
        "ContextualBandits",
        {
            "sensors": Option("4", "how many sensors", "counts", least=1),
            "actions": Option("2", "how many actions", "counts", least=2),
            "relevant": Option("1", "how many sensors matter", "counts", least=1),
            "noise": Option("0", "chance that a reward has the wrong sign", "number", 0, 0.5),
            "delay": Option("0", "steps by which rewards are late", "counts", least=0),
        },
        steps=100,
        metrics=("right",),
    ),
    "tabular-mdp": TaskEntry(
        "a decision process of a few states, all of it random, as Duan et al. have it",
        "TabularMDPs",
        {
            "states": Option("10", "how many states", least=1),
            "actions": Option("5", "how many actions", least=1),
            "episode_steps": Option("10", "steps of an episode", least=1),
        },
        steps=100,
    ),
    "cartpole": _control(
        "balance a pole on a cart",
        "CartPole",
        ("dense", "sparse", "upright", "gym"),
        500,
        "falls",
        length=("0.5", "half the length of the pole, m"),
        gravity=("9.8", "m/s^2"),
        masscart=("1", "kg"),
        masspole=("0.1", "kg"),
        force_mag=("10", "of a push, N"),
        tau=("0.02", "seconds in a step"),
    ),
    "acrobot": _control(
        "swing up a double pendulum by its elbow",
        "Acrobot",
        _REWARDS,
        500,
        "successes",
        link_length_1=("1", "m"),
        link_length_2=("1", "m"),
        link_mass_1=("1", "kg"),
        link_mass_2=("1", "kg"),
    ),
    "lunar-lander": TaskEntry(
        "land between two flags; an approximation of Gymnasium's",
        "LunarLander",
        {
            "reward": Option("dense", "which reward", "choice", choices=_REWARDS),
            "continuous": Option("no", "whether engines are throttled by two numbers", "flag"),
        },
        {
            "gravity": Option("10", "m/s^2", "numbers"),
            "wind_power": Option("0", "of the wind; Gymnasium's is 15", "numbers"),
            "turbulence_power": Option("0", "of the wind's turning; Gymnasium's is 1.5", "numbers"),
            "main_engine_power": Option("13", "of the main engine", "numbers"),
            "side_engine_power": Option("0.6", "of the side engines", "numbers"),
            "steps_in_episode": _episode("1000"),
        },
        metrics=("landings", "crashes"),
    ),
    "mountain-car": _control(
        "swing a weak car out of a valley",
        "MountainCar",
        _REWARDS,
        200,
        "successes",
        force=("0.001", "of the motor, per step^2"),
        gravity=("0.0025", "per step^2"),
    ),
    "pendulum": _control(
        "swing up a pendulum; continuous actions",
        "Pendulum",
        _REWARDS,
        200,
        "upright",
        g=("10", "m/s^2"),
        m=("1", "kg"),
        l=("1", "length, m"),
        max_torque=("2", "N m"),
    ),
    "arm": TaskEntry(
        "bring the tip of an arm to a target; continuous actions",
        "Reacher",
        {
            "reward": Option("dense", "which reward", "choice", choices=_REWARDS),
            "joints": Option("2", "how many joints", least=1),
        },
        {
            "torque_scale": Option("1", "the greatest angular acceleration, 1/s^2", "numbers"),
            "dt": Option("0.05", "seconds in a step", "numbers"),
            "steps_in_episode": _episode("100"),
        },
        metrics=("reached",),
    ),
    "point": TaskEntry(
        "bring a point to a goal in a box; continuous actions",
        "PointRobot",
        {
            "reward": Option("dense", "which reward", "choice", choices=_REWARDS),
            "dimensions": Option("2", "how many dimensions", least=1),
        },
        {
            "speed": Option("0.1", "greatest, in half sides of the box per step", "numbers"),
            "steps_in_episode": _episode("100"),
        },
        metrics=("reached",),
    ),
    "mountain-car-continuous": _control(
        "as mountain-car, with continuous actions",
        "MountainCarContinuous",
        _REWARDS,
        999,
        "successes",
        power=("0.0015", "of the motor, per step^2"),
        gravity=("0.0025", "per step^2"),
    ),
    "heart-trap": _grid(
        "a grid with hearts, which pay, and traps, which cost",
        "HeartTrap",
        ("hearts", "traps"),
        hearts="1",
        traps="1",
        heart_reward="1",
        trap_reward="-1",
    ),
    "goal-world": _grid(
        "a grid with a target and obstacles; steps towards the target pay",
        "GoalWorld",
        ("goals",),
        obstacles="3",
        step_reward="1",
    ),
    "ant": _body("ant", "walk on four legs"),
    "halfcheetah": _body("halfcheetah", "run on two legs in a plane"),
    "hopper": _body("hopper", "hop on one leg in a plane"),
    "reacher": _body("reacher", "reach for a target with an arm of two parts"),
    "walker2d": _body("walker2d", "walk on two legs in a plane"),
}
WRAPPERS: dict[str, WrapperEntry] = {
    "permute": WrapperEntry(
        "sensors and actions in an order drawn for each life",
        "Permute",
        ("what",),
        Option("both", "what is permuted", "choice", choices=("both", "observations", "actions")),
    ),
    "project": WrapperEntry(
        "observations through a random linear map, drawn for each life",
        "Project",
        ("size",),
        Option("16", "numbers in an observation then", least=1),
        options={"shared": Option("no", "one map for all lives", "flag")},
    ),
    "swap": WrapperEntry(
        "rewards with the opposite sign",
        "SwapRewards",
        ("chance",),
        Option("1", "chance that a life is so", "number", 0, 1),
    ),
    "delay": WrapperEntry(
        "rewards that come later",
        "DelayRewards",
        ("delay",),
        Option("0..4", "steps", "counts", least=0),
    ),
    "withhold": WrapperEntry(
        "no rewards any more after some step of a life",
        "WithholdRewards",
        ("after",),
        Option("20..120", "steps with rewards", "counts", least=0),
    ),
    "distract": WrapperEntry(
        "more sensors, which tell nothing",
        "Distract",
        ("sensors",),
        Option("0..12", "how many", "counts", least=0),
        options={
            "noisy": Option("0.5", "chance that one is noise, and not 0", "number", 0, 1),
            "std": Option("1", "standard deviation of the noise", "number", 0),
        },
    ),
    "pad": WrapperEntry(
        "zeros and masked actions up to a size, for learners of that size",
        "Pad",
        ("observation_size", "num_actions"),
        Option("16x4", "sensors and actions then", "sizes", least=1),
        needed=True,
        options={"mask": Option("yes", "tell the learner which are real", "flag")},
    ),
}
STANDARD: tuple[str, ...] = (
    "bandit-independent",
    "bandit-independent:arms=8",
    "bandit-independent:arms=64",
    "contextual-bandit",
    "contextual-bandit+permute",
    "contextual-bandit+project=16",
    "contextual-bandit:sensors=64",
    "cartpole",
    "cartpole+permute",
    "cartpole+project=16",
    "cartpole:length=1",
    "cartpole+distract=4",
    "cartpole+distract=12",
    "cartpole+distract=60",
    "acrobot+permute",
    "mountain-car+permute",
    "pendulum",
    "mountain-car-continuous",
    "heart-trap",
    "heart-trap+swap",
    "goal-world",
    "goal-world+permute",
)
"""What a general learner is tested on: sizes from 2 to 64, orders, projections, environments."""
