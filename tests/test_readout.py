"""From messages to actions and back."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import rl


def test_logits_are_scaled_then_clipped():
    messages = jnp.asarray([-50.0, -0.2, 0.0, 0.1, 1e30])
    np.testing.assert_allclose(rl.Categorical().logits(messages, None), messages)
    np.testing.assert_allclose(
        rl.Categorical(3.0).logits(messages, None), 3.0 * np.asarray(messages)
    )
    clipped = rl.Categorical(3.0, 2.0).logits(messages, None)
    np.testing.assert_allclose(
        clipped, [-2.0, -2.0 * np.tanh(0.3), 0.0, 2.0 * np.tanh(0.15), 2.0], rtol=1e-6
    )


def test_actions_that_do_not_exist_have_no_chance():
    mask = jnp.asarray(np.array([True, False, True]))
    logits = rl.Categorical(2.0, 1.0).logits(jnp.asarray([0.0, 9.0, 9.0]), mask)
    assert list(np.isneginf(logits)) == [False, True, False]
    chances = jax.nn.softmax(logits)
    assert chances[1] == 0.0
    np.testing.assert_allclose(chances.sum(), 1.0, rtol=1e-6)
    gradient = jax.grad(lambda m: jax.nn.log_softmax(rl.Categorical().logits(m, mask))[0])(
        jnp.asarray([0.3, 9.0, -0.2])
    )
    assert np.all(np.isfinite(gradient))
    assert list(np.asarray(gradient) == 0.0) == [False, True, False]


@pytest.mark.parametrize("masked", [False, True])
def test_choices_follow_the_softmax(masked, getkey):
    readout = rl.Categorical()
    mask = jnp.asarray(np.array([True, True, False, True])) if masked else None
    logits = readout.logits(jnp.asarray([0.5, -1.0, 0.0, 1.0]), mask)

    @jax.jit
    @jax.vmap
    def sample(key):
        return readout.choose(logits, readout.noise(4, jnp.dtype("float32"), key=key))

    count = 40_000
    actions = np.asarray(sample(jr.split(getkey(), count)))
    assert actions.dtype == np.int32
    frequencies = np.bincount(actions, minlength=4) / count
    chances = np.asarray(jax.nn.softmax(logits), np.float64)
    # Five standard errors.
    error = 5.0 * np.sqrt(chances * (1.0 - chances) / count)
    assert np.all(np.abs(frequencies - chances) <= error)
    if masked:
        assert frequencies[2] == 0.0


def test_noise_is_gumbel_noise(getkey):
    noise = np.asarray(rl.Categorical().noise(20_000, jnp.dtype("float32"), key=getkey()))
    assert noise.dtype == np.float32
    np.testing.assert_allclose(noise.mean(), np.euler_gamma, atol=5 * 1.2825 / np.sqrt(20_000))
    np.testing.assert_allclose(noise.var(), np.pi**2 / 6, rtol=0.08)
    for q in (0.1, 0.5, 0.9):
        np.testing.assert_allclose(np.mean(noise <= -np.log(-np.log(q))), q, atol=0.018)


def test_feedback_is_the_choice():
    readout, dtype = rl.Categorical(), jnp.dtype("float32")
    for action in range(3):
        logits = jnp.where(jnp.arange(3) == action, 100.0, 0.0)
        chosen = readout.choose(logits, jnp.zeros(3))
        assert chosen == action
        feedback = readout.feedback(chosen, 3, dtype)
        assert feedback.dtype == dtype
        np.testing.assert_array_equal(feedback, np.eye(3)[action])


def test_no_action_yet_is_no_feedback():
    feedback = rl.Categorical().feedback(jnp.asarray(-1, jnp.int32), 3, jnp.dtype("float32"))
    np.testing.assert_array_equal(feedback, np.zeros(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0.0}, "`logit_scale` must be a number above 0, got 0.0"),
        ({"scale": -1.0}, "`logit_scale` must be a number above 0, got -1.0"),
        ({"scale": float("inf")}, "`logit_scale` must be a number above 0, got inf"),
        ({"bound": 0.0}, "`soft_clip` must be a number above 0, or None for no bound; got 0.0"),
        ({"bound": float("nan")}, "`soft_clip` must be a number above 0, or None .*got nan"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_plain_words(options, message):
    with pytest.raises(ValueError, match=message):
        rl.Categorical(**options)


# ---- continuous actions -------------------------------------------------------------------------


def test_a_gaussian_has_a_bounded_mean_and_deviation():
    readout = rl.Gaussian(2.0, least=0.1, most=0.4)
    messages = jnp.asarray([[0.0, 0.0], [0.3, -1e3], [-1e3, 1e3]])
    means, spreads = np.asarray(readout.logits(messages, None)).T
    np.testing.assert_allclose(means, [0.0, np.tanh(0.6), -1.0], rtol=1e-6)
    np.testing.assert_allclose(np.exp(spreads), [0.2, 0.1, 0.4], rtol=1e-5)
    chosen = readout.choose(jnp.asarray(np.stack([means, spreads], 1)), jnp.asarray([1.0, -2, 9]))
    np.testing.assert_allclose(chosen, [0.2, np.tanh(0.6) - 0.2, 1.0], rtol=1e-5)
    noise = np.asarray(readout.noise(20_000, jnp.dtype("float32"), key=jr.key(0)))
    assert abs(noise.mean()) < 5 / np.sqrt(20_000)
    np.testing.assert_allclose(noise.std(), 1.0, atol=5 / np.sqrt(40_000))


def test_a_deterministic_action_is_the_mean():
    readout, messages = rl.Deterministic(2.0), jnp.asarray([[0.0], [0.3], [-1e3]])
    noise = readout.noise(3, jnp.dtype("float32"), key=jr.key(0))
    np.testing.assert_array_equal(noise, np.zeros(3))
    chosen = readout.choose(readout.logits(messages, None), noise + 7.0)
    np.testing.assert_allclose(chosen, [0.0, np.tanh(0.6), -1.0], rtol=1e-6)


@pytest.mark.parametrize("readout", [rl.Gaussian(), rl.Deterministic()], ids=["noise", "none"])
def test_numbers_that_do_not_exist_are_zero(readout):
    mask = jnp.asarray(np.array([True, False]))
    messages = jnp.full((2, readout.channels), 0.7)
    chosen = readout.choose(readout.logits(messages, mask), jnp.full(2, 0.1))
    assert chosen[0] > 0.5
    assert chosen[1] == 0.0
    half = jnp.asarray([0.5, -1.0], jnp.bfloat16)  # the feedback is the action itself
    np.testing.assert_array_equal(readout.feedback(half, 2, jnp.dtype("float32")), [0.5, -1.0])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: rl.Gaussian(0.0), "`logit_scale` must be a number above 0, got 0.0"),
        (lambda: rl.Deterministic(-1.0), "`logit_scale` must be a number above 0, got -1.0"),
        (lambda: rl.Gaussian(least=0.5, most=0.1), "`least` and `most`, .*; got 0.5 and 0.1"),
        (lambda: rl.Gaussian(least=0.0), "`least` and `most`, .*; got 0.0 and 1.0"),
    ],
)
def test_continuous_readouts_that_cannot_be(build, message):
    with pytest.raises(ValueError, match=message):
        build()
