import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_pt.errors import UserError
from robot_pt_sim import expert
from robot_pt_sim.styles import MIXTURES, STYLES, Demonstrator, _CorrelatedNoise, draw_style, mixture


def episode(simulator, style, seed, strength=1.0):
    """(success, actions, flaw) of one demonstration, ended as collection ends it."""
    demonstrator = Demonstrator(simulator.definition, style, np.random.default_rng([seed, 1]), strength=strength)
    simulator.reset(seed)
    actions, idle = [], 0
    while idle < 2:
        actions.append(demonstrator(simulator.state()))
        result = simulator.step(actions[-1])
        if result.terminated or result.truncated:
            break
        idle += demonstrator.finished
    return result.success, np.array(actions), demonstrator.flaw


def test_styles_differ_as_they_say(scene):
    simulator = scene("lift-red")
    played = {style: [episode(simulator, style, seed) for seed in range(6)] for style in STYLES}
    solved = {style: sum(success for success, _, _ in runs) for style, runs in played.items()}
    length = {style: np.mean([len(actions) for _, actions, _ in runs]) for style, runs in played.items()}
    assert solved["clean"] == 6
    assert solved["failed"] == 0
    assert solved["noisy"] >= 4
    assert solved["recover"] >= 4
    assert length["recover"] > 1.4 * length["clean"]
    assert length["hesitant"] > 1.4 * length["clean"]
    roughness = {
        style: np.mean([np.diff(actions[:, :6], axis=0).std() for _, actions, _ in runs])
        for style, runs in played.items()
    }
    assert roughness["noisy"] > roughness["clean"]


@pytest.mark.parametrize("task", ["stack", "pick-place-can", "door"])
def test_failures_fail_in_every_family(scene, task):
    runs = [episode(scene(task), "failed", seed) for seed in range(8)]
    assert sum(success for success, _, _ in runs) <= 1
    assert len({flaw for _, _, flaw in runs}) >= 3


def test_a_demonstration_depends_on_its_seed_alone(scene):
    first = episode(scene("lift-red"), "noisy", 5)[1]
    episode(scene("lift-red"), "failed", 6)
    np.testing.assert_array_equal(first, episode(scene("lift-red"), "noisy", 5)[1])


def test_strength_zero_takes_the_noise_away(scene):
    _, actions, _ = episode(scene("lift-red"), "noisy", 5, strength=0.0)
    np.testing.assert_allclose(actions[:, 3:6], 0, atol=0.02)


def test_correlated_noise_has_the_stated_deviation_and_memory():
    noise = _CorrelatedNoise(1.0, np.random.default_rng(0), memory=0.6)
    values = np.array([noise.next() for _ in range(20_000)])[50:]
    np.testing.assert_allclose(values.std(axis=0), [0.01] * 5 + [0.04], rtol=0.05)
    correlation = (values[1:, 0] * values[:-1, 0]).mean() / values[:, 0].var()
    assert correlation == pytest.approx(0.6, abs=0.03)


def test_presets_are_shares():
    for name in MIXTURES:
        assert sum(mixture(name).values()) == pytest.approx(1)
    mixed = mixture("mixed")
    assert 1 - mixed["clean"] >= 0.5  # at least half of the episodes are not clean


@given(st.dictionaries(st.sampled_from(STYLES), st.floats(0.01, 10), min_size=1))
def test_given_shares_are_scaled_to_one(shares):
    scaled = mixture(shares)
    assert sum(scaled.values()) == pytest.approx(1)
    first = next(iter(shares))
    assert scaled[first] / shares[first] == pytest.approx(1 / sum(shares.values()))


def test_styles_are_drawn_by_their_share():
    rng = np.random.default_rng(0)
    drawn = [draw_style({"clean": 0.2, "failed": 0.8}, rng) for _ in range(2000)]
    assert drawn.count("failed") / 2000 == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize("noise", ["loud", {"clumsy": 1.0}, {"clean": 0.0}, {"clean": -1.0, "noisy": 2.0}])
def test_unknown_noise_is_refused(noise):
    with pytest.raises(UserError, match="noise"):
        mixture(noise)


def test_an_expert_by_name_drives_a_simulator(scene):
    simulator = scene("lift-red")
    simulator.reset(2)
    driver = expert("lift-red", seed=2)
    for _ in range(simulator.horizon):
        result = simulator.step(driver(simulator.state()))
        if result.terminated:
            break
    assert result.success
    with pytest.raises(UserError, match="no task"):
        expert("juggle")
