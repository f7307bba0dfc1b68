import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


class Moments(eqx.Module):
    """Mean and deviation of all that was seen so far, batch by batch (Chan et al. 1979)."""

    count: Float[Array, ""]
    mean: Float[Array, " n"]
    spread: Float[Array, " n"]

    def __init__(self, size: int):
        """**Arguments:** `size`: how many numbers are seen at a time."""
        self.count, self.mean, self.spread = jnp.zeros(()), jnp.zeros((size,)), jnp.zeros((size,))

    def add(self, batch: Float[Array, "T n"]) -> "Moments":
        """The moments with a batch more."""
        added, mean = batch.shape[0], batch.mean(0)
        count = self.count + added
        error, share = mean - self.mean, added / count
        within = ((batch - mean[None]) ** 2).sum(0)
        spread = self.spread + within + error**2 * self.count * share
        moments = (count, self.mean + error * share, spread)
        return eqx.tree_at(lambda m: (m.count, m.mean, m.spread), self, moments)

    @property
    def deviation(self) -> Float[Array, " n"]:
        """The standard deviation; 1 before anything was seen."""
        variance = self.spread / jnp.maximum(self.count, 1.0)
        return jnp.sqrt(jnp.where(self.count > 0, variance, 1.0) + 1e-6)
