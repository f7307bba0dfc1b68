"""What the page on hand-made learners says can be run, and leaves nobody out."""

import inspect
import re
from pathlib import Path

import jax.random as jr
import pytest

import rl
from rl import classic

pytestmark = pytest.mark.usefixtures("cheap_compilation")
ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "learners.md").read_text()


@pytest.mark.slow
def test_the_example_runs():
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    small, found = re.subn(r"environments=4, steps=320", "environments=2, steps=32", block)
    assert found == 1
    names = {}
    exec(compile(small, "docs/learners.md", "exec"), names)
    trained, player = names["trained"], names["player"]
    assert trained.rewards.shape == (1,)
    life = rl.lifetime(player, names["tasks"].sample(key=jr.key(1)), steps=5, key=jr.key(1))
    assert float(life.total_reward) == 5.0


def test_every_agent_has_a_row_and_the_sections_that_it_links():
    sections = {
        re.sub(r"[^\w -]", "", s).strip().lower().replace(" ", "-")
        for s in re.findall(r"^## (.*)$", PAGE, re.M)
    }
    links = re.findall(r"\]\(#([\w-]+)\)", PAGE)
    assert links and set(links) <= sections
    agents = {
        name
        for name, value in vars(classic).items()
        if inspect.isclass(value)
        and issubclass(value, rl.Learner)
        and not inspect.isabstract(value)
        and not issubclass(value, classic.BanditPlayer)
        and name != "Settled"
    }
    rows = set(re.findall(r"^\| \[`(\w+)`\]", PAGE, re.M))
    assert agents == rows
