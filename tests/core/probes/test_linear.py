import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from robot_pt.probes.linear import PENALTIES, Later, Ridge, RidgePath, Scale, best_later


def data(n=60, d=7, k=2, seed=0):
    rng = np.random.default_rng(seed)
    x = Scale.of(raw := rng.normal(size=(n, d)))(raw)
    return x, x @ rng.normal(size=(d, k)) + 0.3 * rng.normal(size=(n, k)) + 5.0


@given(st.integers(0, 20), st.sampled_from(PENALTIES))
def test_ridge_is_the_solution_of_the_augmented_least_squares_problem(seed, penalty):
    """The same minimum by another way: ordinary least squares with sqrt(n * penalty * s) rows for the weights."""
    x, y = data(seed=seed)
    scale = np.linalg.eigvalsh(x.T @ x / len(x)).mean()
    extra = np.sqrt(len(x) * penalty * scale) * np.eye(x.shape[1])
    expected = np.linalg.lstsq(np.vstack([x, extra]), np.vstack([y - y.mean(0), np.zeros((7, 2))]), rcond=None)[0]
    weights, offset = Ridge(x).weights(y, penalty)
    np.testing.assert_allclose(weights, expected, atol=1e-9)
    np.testing.assert_allclose(offset, y.mean(0))


@pytest.mark.parametrize(("n", "d"), [(60, 7), (20, 40)])
def test_errors_of_all_penalties_are_those_of_their_weights(n, d):
    x, y = data(n=n, d=d)
    judge_x, judge_y = data(n=15, d=d, seed=1)
    fitted = Ridge(x)
    expected = []
    for penalty in PENALTIES:
        weights, offset = fitted.weights(y, penalty)
        expected.append(((judge_x @ weights + offset - judge_y) ** 2).sum())
    np.testing.assert_allclose(fitted.errors(y, judge_x, judge_y), expected, rtol=1e-9)


def test_ridge_has_a_minimum_where_there_are_fewer_rows_than_features():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(5, 40))
    x -= x.mean(0)
    y = rng.normal(size=(5, 1))
    weights, offset = Ridge(x).weights(y, 1e-4)
    assert np.isfinite(weights).all()
    np.testing.assert_allclose(x @ weights + offset, y, atol=0.02)  # as good as interpolation


def test_a_feature_that_never_moved_counts_for_nothing():
    x = np.stack([np.linspace(0, 1, 20), np.full(20, 3.0)], axis=1)
    scaled = Scale.of(x)(np.array([[0.5, 1e6]]))
    np.testing.assert_allclose(scaled, [[0.0, 0.0]], atol=1e-12)


def test_a_feature_that_hardly_moved_is_not_blown_up():
    """Ten times more lively elsewhere than in training: it stays a tenth of what the others are, not ten deviations."""
    x = np.stack([np.linspace(0, 1, 20), 1e-3 * np.linspace(0, 1, 20)], axis=1)
    scale = Scale.of(x)
    assert scale.deviation[1] == pytest.approx(0.1 * x.std(0).mean())
    assert abs(scale(np.array([[0.0, 1e-2]]))[0, 1]) < 0.7
    assert scale.deviation[0] == pytest.approx(x[:, 0].std())


def test_the_penalty_is_chosen_on_the_judging_rows():
    """Noise in 60 features for 40 rows: a weak penalty fits it, the judges see that and take a strong one."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(80, 60))
    y = x[:, :1] + 3 * rng.normal(size=(80, 1))
    judge = np.arange(80) % 2 == 0
    chosen, _ = RidgePath(x, judge).best(y)
    norms = [np.linalg.norm(Ridge(x).weights(y, p)[0]) for p in PENALTIES]
    assert np.linalg.norm(chosen) == pytest.approx(min(norms)) or np.linalg.norm(chosen) < 0.7 * max(norms)


@pytest.mark.parametrize(("n", "d"), [(50, 4), (12, 30)])
@pytest.mark.parametrize("penalty", [1e-3, 1.0])
def test_later_is_the_minimum_that_a_general_optimiser_finds(n, d, penalty):
    rng = np.random.default_rng(n)
    x = rng.normal(size=(n, d)) + 0.4
    scale = (x**2).sum() / (n * d)

    def loss(w):
        value = np.logaddexp(0, -x @ w).mean() + penalty * scale * (w @ w) / 2
        slope = -(x / (1 + np.exp(x @ w))[:, None]).mean(0) + penalty * scale * w
        return value, slope

    expected = minimize(
        loss, np.zeros(d), jac=True, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 5000}
    )
    np.testing.assert_allclose(Later(x).weights(penalty), expected.x, atol=2e-4)


def test_later_of_separable_pairs_stays_finite_and_orders_them():
    x = np.abs(np.random.default_rng(0).normal(size=(40, 3))) + 0.1
    weights = Later(x).weights(1e-4)
    assert np.isfinite(weights).all()
    assert (x @ weights > 0).all()


def test_later_of_nothing_that_moves_is_zero():
    np.testing.assert_array_equal(Later(np.zeros((10, 3))).weights(0.1), np.zeros(3))


def test_best_later_orders_what_a_line_through_the_features_orders():
    rng = np.random.default_rng(3)
    direction = rng.normal(size=20)
    x = rng.normal(size=(300, 20)) + 0.5 * direction
    weights = best_later(x[:200], np.arange(200) % 4 == 0)
    assert (x[200:] @ weights > 0).mean() > 0.95
