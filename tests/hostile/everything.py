"""Every public factory once, at the smallest size: `python -m hostile.everything FLAG`.

A flag of JAX is `name` (set to true) or `name=value`. Each case must return numbers
that are finite; what does not is listed, and the exit status is 1. With `light` as a
second argument the dear ones are left out; any other chooses by a part of the names.
"""

import os
import sys
import time
import traceback
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jaxval import ecoval, evaluation, linalg
from jaxval import linear_models as fits
from jaxval.attribution import influence as influence_functions
from jaxval.coalitions import grouped, queries
from jaxval.coalitions.game import Game
from jaxval.distributional import estimator as distributional
from jaxval.distributional import point_scores, regressions
from jaxval.distributional import utilities as point_utilities
from jaxval.ecoval import clusters, share_rules
from jaxval.ecoval import utilities as ecoval_utilities
from jaxval.execution.precision import float64
from jaxval.games import (
    analytic,
    at_initialisation,
    complexity,
    custom,
    davinz,
    discrepancy,
    kernel_regression,
    knn,
    linear_models,
    retraining,
    size,
    volume,
)
from jaxval.kernels import (
    gradient_engine,
    mmd,
    mmd_rows,
    pairwise,
    readouts,
    spectra,
    tangent,
)
from jaxval.kernels.approximations import banded, blocks, projection
from jaxval.semivalues import (
    antithetic,
    exact,
    intervals,
    kernel_banzhaf,
    kernel_shap,
    msr,
    msr_unbiased,
    permutation_sampling,
    quasi_random,
    regression_adjusted,
    regression_adjustment,
    run,
    stopping,
    stratified,
    tmc,
    weights,
)
from jaxval.training import (
    Recipe,
    accuracy,
    cross_entropy,
    margin,
    negative,
    squared_error,
    stateless,
)
from jaxval.types import Dataset, Points

N = 5
RNG = np.random.default_rng(0)
X = RNG.normal(size=(10, 3))
Y = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 1])
OWNER = np.repeat(np.arange(N), 2)
REAL = X @ np.array([1.0, -2.0, 0.5])
VALID = Points(X[::2] + 0.1, Y[::2])
REAL_VALID = Points(X[::2] + 0.1, REAL[::2])
DATA, REAL_DATA = Dataset(X, Y, OWNER), Dataset(X, REAL, OWNER)
X32 = X.astype(np.float32)
GRAM = X @ X.T
WORTH = RNG.normal(size=N)
TERMS = analytic.random_unanimity_sum(N, 4, max_size=3, seed=0)
PAIRS = np.ones((N, N)) - np.eye(N)


def bent(worth, mask):
    return jnp.tanh(worth @ mask.astype(worth.dtype))


TRACED = Game(N, Partial(bent, float64(WORTH)))
HOST = Game(N, lambda mask: float(np.tanh(WORTH @ mask)), on_host=True)
METHODS = {
    "permutation_sampling": lambda: permutation_sampling(N),
    "antithetic": lambda: antithetic(N, weights.beta(4, 1)),
    "quasi_random": lambda: quasi_random(N),
    "stratified": lambda: stratified(N, num_rotations=2),
    "msr": lambda: msr(N, weights.weighted_banzhaf(0.3)),
    "msr_unbiased": lambda: msr_unbiased(N),
    "regression_adjusted": lambda: regression_adjusted(N),
    "quadratic": lambda: regression_adjusted(
        N, basis=regression_adjustment.quadratic(N)
    ),
    "kernel_shap": lambda: kernel_shap(N, groups=4),
    "kernel_banzhaf": lambda: kernel_banzhaf(N, groups=4),
    "tmc": lambda: tmc(N, permutations=4),
}


def sampled(method, game, every=1):
    # Nothing is known after one step: the first look must bear that.
    rule = stopping.any_of(stopping.ranks_stable(), stopping.budget(150))
    seen = []
    out = run(
        jax.random.key(0), METHODS[method](), game, until=rule, every=every,
        progress=seen.append,
    )  # fmt: skip
    intervals.student(out.estimate)
    intervals.rank_confidence(out.estimate, out.covariance)
    return out.values, out.stderr


def asked(game):
    """All that a game answers, each in its own way."""
    out = [queries.scores(game, np.eye(game.num_players, dtype=bool))]
    out += [queries.prefix_scores(game, np.arange(game.num_players))]
    out += [queries.leave_one_out_scores(game).without]
    out += [queries.powerset_scores(game)]
    if game.rows is not None:
        out += [queries.row_scores(game, np.eye(game.num_players, dtype=bool))]
    return out


def network(params, x):
    return jnp.tanh(x @ params["a"] + params["b"]) @ params["c"]


def parameters():
    draw = np.random.default_rng(1)
    shapes = {"a": (3, 4), "b": (4,), "c": (4, 3)}
    return {k: jnp.asarray(draw.normal(size=s), jnp.float32) for k, s in shapes.items()}


def linear(metric, loss, outputs, targets):
    init = lambda key: 0.1 * jax.random.normal(key, (3, outputs), jnp.float32)
    recipe = Recipe(loss=loss, batch_size=4, epochs=2)
    data = DATA if targets is Y else REAL_DATA
    valid = VALID if targets is Y else REAL_VALID
    cast = lambda part: part._replace(x=part.x.astype(np.float32))
    net = stateless(init, lambda p, x: x @ p)
    game = retraining.retraining(
        jax.random.key(0), cast(data), cast(valid), net, recipe, metric=metric
    )
    return queries.scores(game, np.tri(N, dtype=bool))


def influences(loss, targets):
    data = DATA if targets is Y else REAL_DATA
    valid = VALID if targets is Y else REAL_VALID
    params = jnp.zeros((3, 3 if targets is Y else 1), jnp.float32)
    cast = lambda part: part._replace(x=part.x.astype(np.float32))
    ask = influence_functions.query_influences
    net = lambda p, x: x @ p
    return ask(net, params, loss, cast(data), cast(valid), damping=0.1)


def valued_points(make):
    points = Points(X[:4], Y[:4])
    method = distributional.distributional_shapley(10, 4, max_size=5)
    rule = distributional.iterations(8, num_points=4, max_size=5)
    return run(jax.random.key(0), method, make(points), until=rule).values


def fitted():
    points = Points(X, Y)
    closed = ecoval_utilities.closed_form(VALID, 3)
    found = ecoval.fit(
        jax.random.key(0), closed.utility, points,
        settings=ecoval.Settings(mixture=ecoval.Mixture(num_clusters=2)),
        cluster_game=closed.cluster_game,
    )  # fmt: skip
    unseen = ecoval.unseen_values(found, Points(X[:3] + 0.1, Y[:3]))
    return ecoval.values(found).values, unseen.values


def allocated(rule):
    q, c = np.array([2.0, 1.0, 0.5]), np.array([0, 0, 1])
    members = ecoval.Members(q, np.ones(3), c)
    return ecoval.allocate(np.array([0.3, 0.1]), members, share_rule=rule).values


def curves():
    values = np.array([0.0, 0.0, 1.0, 2.0, 3.0])
    key = jax.random.key(0)
    fall = evaluation.removal_curve(TRACED, values, key=key, num_orders=3)
    rise = evaluation.addition_curve(TRACED, values, key=key, num_orders=3)
    return fall.scores, rise.scores


def judged():
    key, v, w = jax.random.key(0), np.arange(6.0), np.array([0.0, 2, 1, 3, 5, 4])
    found = evaluation.detect(v, v < 2)
    reliable = evaluation.split_half_reliability(key, np.stack([v, w, v + w, w]))
    return (
        evaluation.spearman(v, w), evaluation.top_overlap(v, w, 2),
        evaluation.bootstrap_interval(key, v, w, num_resamples=5),
        found.precision, found.auc, reliable.half,
        evaluation.prob_greater(np.stack([v, w])),
    )  # fmt: skip


def untrained():
    from jaxval import models

    cast = lambda part: part._replace(x=part.x.astype(np.float32))
    key, net = jax.random.key(0), models.mlp([4], 3)
    parts = at_initialisation.davinz(key, net, cast(DATA), cast(VALID))
    by_kernel = at_initialisation.kernel_regression_game(
        key, net, cast(DATA), cast(VALID)
    )
    return asked(parts.game), asked(by_kernel)


def approximated():
    theta = GRAM + np.eye(10)
    split = blocks.contiguous(10, 3)
    parts = blocks.from_dense(theta, split)
    aligned = blocks.from_dense(theta, blocks.aligned(OWNER))
    band = banded.from_dense(theta, split, 1)
    features = projection.features(
        jax.random.key(0), network, parameters(), X32, num_features=4,
        readout=readouts.sum_of_outputs,
    )  # fmt: skip
    return (
        blocks.quadratic_form(parts, REAL, 0.1),
        blocks.owner_quadratic_forms(aligned, REAL, 0.1, OWNER),
        banded.quadratic_form(band, REAL, 0.1), banded.complete(band),
        features, projection.gram(features),
    )  # fmt: skip


def fit_linear_models():
    frame = fits.design(X)
    targets = float64(np.eye(3)[Y])
    ones = float64(np.zeros((frame.x.shape[1], 3)))
    fit = fits.fit_logistic(frame.x, targets, np.ones(10, bool), float64(1.0), ones)
    turned = np.asarray(frame.x)
    ridge = fits.fit_ridge(
        float64(turned.T @ turned), float64(turned.T @ REAL[:, None]), float64(1.0)
    )
    return fit.weights, fit.gradient, ridge


def traced_exact():
    table = jnp.arange(8.0, dtype=jnp.float32)
    shapley = lambda scores: exact.from_table(scores, weights.shapley)
    first = lambda scores: shapley(scores)[0]
    return jax.jit(shapley)(table), jax.grad(first)(table)


def estimated(scorer=None):
    from sklearn.tree import DecisionTreeClassifier

    model = DecisionTreeClassifier(max_depth=2)
    return asked(custom.from_estimator(model, DATA, VALID, scorer=scorer))


SPARSE = mmd.rbf_ladder(2.0)
CASES = {
    **{
        f"run {method} {kind}": lambda m=method, g=game, e=every: sampled(m, g, e)
        for method in METHODS
        for kind, game, every in (("traced", TRACED, 8), ("host", HOST, 16))
    },
    "exact": lambda: exact.values(TRACED).values,
    "exact banzhaf": lambda: exact.values(HOST, weights.banzhaf).values,
    "exact leave one out": lambda: exact.leave_one_out(TRACED).values,
    "exact groups": lambda: exact.leave_groups_out(TRACED, OWNER[::2] // 2).values,
    "exact traced": traced_exact,
    "combined": lambda: exact.values(2.0 * TRACED - HOST + TRACED).values,
    "grouped": lambda: asked(grouped(TRACED, np.array([0, 1, 1, 0, 2]), 3)),
    "additive": lambda: asked(analytic.additive(WORTH)),
    "airport": lambda: asked(analytic.airport(np.abs(WORTH))),
    "airport values": lambda: analytic.airport_shapley(np.abs(WORTH)),
    "gloves": lambda: asked(analytic.gloves(2, 3)),
    "voting": lambda: asked(analytic.voting([3, 2, 2, 1], 5)),
    "voting values": lambda: analytic.voting_shapley([3, 2, 2, 1], 5),
    "size game": lambda: asked(analytic.size_game(np.arange(5.0))),
    "unanimity": lambda: asked(analytic.unanimity_sum(TERMS)),
    "pairwise game": lambda: asked(analytic.pairwise(WORTH, PAIRS)),
    "size": lambda: asked(size.size(OWNER)),
    "log size": lambda: asked(size.log_size(OWNER)),
    "volume": lambda: asked(volume.volume(X, OWNER)),
    "robust volume": lambda: asked(volume.robust_volume(X, OWNER)),
    **{
        f"knn {kind}": lambda k=kind, y=y: asked(
            knn.knn(knn.pairwise_distances(X[::2], X), y, y[::2], OWNER, k=2, kind=k)
        )
        for kind, y in (("classification", Y), ("soft", Y), ("regression", REAL))
    },
    **{
        f"knn_shapley {kind}": lambda k=kind, y=y: knn.knn_shapley(
            knn.pairwise_distances(X[::2], X), y, y[::2], k=2, kind=k
        )
        for kind, y in (("classification", Y), ("soft", Y), ("regression", REAL))
    },
    "threshold knn": lambda: asked(
        knn.threshold_knn(
            knn.pairwise_distances(X[::2], X), Y, Y[::2], OWNER, radius=1.0
        )
    ),
    "threshold shapley": lambda: knn.threshold_knn_shapley(
        knn.pairwise_distances(X[::2], X), Y, Y[::2], radius=1.0
    ),
    "kernel regression": lambda: asked(
        kernel_regression.kernel_regression(
            GRAM, GRAM[::2], Y, Y[::2], OWNER, penalty=1.0
        )
    ),
    "kernel regression real": lambda: asked(
        kernel_regression.kernel_regression(
            GRAM,
            GRAM[::2],
            REAL,
            REAL[::2],
            OWNER,
            penalty=1.0,
            metric=kernel_regression.negative_squared_error,
        )
    ),  # fmt: skip
    "ridge regression": lambda: asked(
        kernel_regression.ridge_regression(
            X, X[::2], Y, Y[::2], OWNER, penalty=1.0, metric=margin
        )
    ),
    "logistic": lambda: asked(linear_models.logistic(DATA, VALID)),
    "logistic entropy": lambda: asked(
        linear_models.logistic(DATA, VALID, metric=negative(cross_entropy))
    ),
    "data shapley": lambda: asked(linear_models.data_shapley(DATA, VALID)),
    "ridge": lambda: asked(linear_models.ridge(REAL_DATA, REAL_VALID)),
    "linear fits": fit_linear_models,
    "complexity": lambda: asked(complexity.complexity(GRAM, REAL, OWNER, zeta=1.0)),
    "complexity in blocks": lambda: asked(
        complexity.complexity(GRAM, REAL, OWNER, zeta=1.0, block=OWNER // 3)
    ),
    "complexity of features": lambda: asked(
        complexity.complexity_of_features(X, REAL, OWNER, zeta=1.0)
    ),
    "complexity of forms": lambda: asked(
        complexity.complexity_of_forms(np.ones(N), np.full(N, 2.0))
    ),
    "discrepancy": lambda: asked(
        discrepancy.discrepancy(mmd.kernel_sums(X, OWNER, X[::2], SPARSE))
    ),
    "discrepancy by row": lambda: asked(
        discrepancy.discrepancy(mmd_rows.row_kernels(X, OWNER, X[::2], SPARSE))
    ),
    "mmd": lambda: mmd.mmd(X, X[::2] + 1, SPARSE, unbiased=True, root=False),
    "davinz": lambda: asked(
        davinz.from_settings(davinz.PAPER, GRAM, X[:, :1], REAL_DATA, X[::2]).game
    ),
    "davinz of the released code": lambda: asked(
        davinz.from_settings(davinz.RELEASED_CODE, GRAM, X, DATA, X[::2]).game
    ),
    "untrained": untrained,
    "retraining classes": lambda: linear(accuracy, cross_entropy, 3, Y),
    "retraining real": lambda: linear(negative(squared_error), squared_error, 1, REAL),
    "influences": lambda: influences(cross_entropy, Y),
    "influences real": lambda: influences(squared_error, REAL),
    "from_estimator": estimated,
    "from_estimator f1": lambda: estimated("f1_macro"),
    "tangent": lambda: tangent.gram(
        network, parameters(), Points(X32, Y), Points(X32[:3], Y[:3])
    ),
    "tangent trace": lambda: tangent.gram(
        network, parameters(), X32, readout=readouts.trace(3)
    ),
    "gradient engine": lambda: gradient_engine.gram(
        network, parameters(), Points(X32, Y)
    ),
    "pairwise": lambda: (
        pairwise.squared_distances(jnp.asarray(X32)),
        pairwise.multi_rbf_gram(X, bandwidths=(1.0, 2.0)),
        pairwise.median_distance(X),
        pairwise.gram(pairwise.rbf(1.0), jnp.asarray(X32)),
    ),
    "spectrum": lambda: spectra.spectrum(GRAM + np.eye(10), zeta=0.1).eigenvalues,
    "approximations": approximated,
    "forms for regularisers": lambda: linalg.forms_for_regularisers(
        GRAM + np.eye(10), REAL, np.array([0.1, 1.0])
    ),
    "leave owners out": lambda: linalg.leave_owners_out(
        GRAM + np.eye(10), REAL, OWNER, 0.1
    ),
    "points logistic": lambda: valued_points(
        lambda points: point_utilities.logistic(Points(X, Y), points, VALID)
    ),
    "points data shapley": lambda: valued_points(
        lambda points: point_utilities.data_shapley(Points(X, Y), points, VALID)
    ),
    "points ridge": lambda: valued_points(
        lambda points: point_utilities.ridge(
            Points(X, np.eye(3)[Y]),
            Points(points.x, np.eye(3)[points.y]),
            Points(VALID.x, np.eye(3)[VALID.y]),
            penalty=1.0,
            metric=accuracy,
        )
    ),  # fmt: skip
    "points counts": lambda: valued_points(
        lambda points: point_scores.from_counts(
            lambda counts: counts.sum() * 1.0, 10, num_points=len(points.x)
        )
    ),
    "regressions": lambda: regressions.ridge(with_target=True)(X, Y, REAL)(X, Y),
    "ecoval": fitted,
    **{
        f"allocate {rule.__name__}": lambda r=rule: allocated(r)
        for rule in (
            share_rules.as_in_the_paper,
            share_rules.equal_where_unsafe,
            share_rules.shifted,
            share_rules.softplus,
            share_rules.absolute,
        )
    },  # fmt: skip
    "mixture": lambda: (
        clusters.gaussian_mixture(
            jax.random.key(0), X, ecoval.Mixture(num_clusters=2)
        ).centroids
    ),
    "curves": curves,
    "evaluation": judged,
}


DEAR = {
    "approximations", "ecoval", "untrained", "davinz", "davinz of the released code",
    "logistic entropy", "data shapley", "complexity in blocks", "points logistic",
    "points data shapley", "discrepancy by row", "run quadratic traced",
    "run antithetic traced", "run stratified traced", "run msr_unbiased traced",
    "run kernel_banzhaf traced", "exact groups", "kernel regression real",
    "retraining real", "influences real", "tangent trace", "knn soft", "mixture",
    "from_estimator f1", "pairwise game", "airport", "gloves", "unanimity",
}  # fmt: skip
"""Left out by `light`: kin of cases that stay."""


def own_frame(error):
    """The last line of the library that an error passed through."""
    frames = traceback.extract_tb(error.__traceback__)
    mine = [f for f in frames if f"{os.sep}jaxval{os.sep}" in f.filename]
    if not mine:
        return "no frame of the library"
    last = mine[-1]
    return f"{last.filename.split(f'{os.sep}jaxval{os.sep}')[-1]}:{last.lineno}"


def main(flag, part=""):
    """Run the cases under a flag; the number of those that failed."""
    name, _, value = flag.partition("=")
    jax.config.update(name, value or True)
    jax.config.update("jax_disable_most_optimizations", True)
    warnings.simplefilter("ignore")
    light, part = part == "light", "" if part == "light" else part
    kept = {name: case for name, case in CASES.items() if part in name}
    chosen = {n: case for n, case in kept.items() if not (light and n in DEAR)}
    failed, slowest = 0, []
    for name, case in chosen.items():
        start = time.process_time()
        try:
            leaves = jax.tree.leaves(case())
            bad = not all(np.isfinite(np.asarray(leaf)).all() for leaf in leaves)
            problem = "a number that is not finite" if bad else None
        except Exception as error:
            shown = " ".join(str(error).split())[:300]
            problem = f"{own_frame(error)}: {type(error).__name__}: {shown}"
        slowest.append((time.process_time() - start, name))
        if problem is not None:
            failed += 1
            print(f"{name}: {problem}", file=sys.stderr)  # noqa: T201
    if os.environ.get("SLOWEST"):
        print(sorted(slowest)[-12:], file=sys.stderr)  # noqa: T201
    spent = f"{time.process_time():.0f} s of CPU"
    print(f"{len(chosen) - failed} of {len(chosen)} cases pass, {spent}")  # noqa: T201
    return failed


if __name__ == "__main__":
    sys.exit(min(main(*sys.argv[1:]), 1))
