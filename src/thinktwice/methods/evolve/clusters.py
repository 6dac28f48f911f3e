"""Which texts go together, as points. Pure; scikit-learn finds the centres."""

from importlib import import_module
from typing import TYPE_CHECKING, Literal

import numpy as np

from thinktwice.methods.evolve.vectors import needs_sklearn

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 8
"""The largest number of clusters that `k="silhouette"` tries: a prompt has room for few examples."""
FAR = 3.5
"""A row is an outlier when the distance to its nearest neighbour has a modified z-score above this (Iglewicz and
Hoaglin 1993)."""
FEW = 8
"""Among fewer rows nothing is called an outlier."""
DIGITS = 6
"""Points that are equal to so many decimals are one point."""


def near_others(points: "NDArray[np.float64]") -> list[int]:
    """Return the indices of the points (points, H) whose nearest neighbour is not unusually far: no outliers."""
    everyone = list(range(len(points)))
    if len(points) < FEW:
        return everyone
    neighbours = needs_sklearn("neighbors").NearestNeighbors(n_neighbors=2).fit(points)
    nearest = np.round(neighbours.kneighbors(points)[0][:, 1], DIGITS)  # the nearest of all is the point itself
    off = nearest - np.median(nearest)
    spread = float(np.median(np.abs(off))) / 0.6745 or float(np.abs(off).mean()) * 1.2533
    return everyone if spread == 0 else np.flatnonzero(off / spread <= FAR).tolist()


def clusters(
    points: "NDArray[np.float64]", k: int | Literal["silhouette"], seed: int
) -> tuple["NDArray[np.float64]", "NDArray[np.intp]", tuple[tuple[int, float], ...]]:
    """Return the centres (clusters, H), each point's cluster, and the silhouettes that decided how many there are.

    Law: same points, same order, same seed: same clusters. Never more of them than there are different points.
    """
    points = np.round(points, DIGITS)
    cluster, metrics = needs_sklearn("cluster"), needs_sklearn("metrics")
    different = len(np.unique(points, axis=0))
    tried = range(2, min(MOST, different - 1) + 1) if k == "silhouette" else ()
    silhouettes = []
    # One thread: several add up their shares in the order they finish, and rounding would differ from run to run.
    with import_module("threadpoolctl").threadpool_limits(limits=1):
        for number in tried:
            labels = cluster.KMeans(number, n_init=10, random_state=seed).fit_predict(points)
            silhouettes.append((number, round(float(metrics.silhouette_score(points, labels)), DIGITS)))
        best = max(silhouettes, key=lambda pair: pair[1])[0] if silhouettes else different
        found = cluster.KMeans(best if k == "silhouette" else min(k, different), n_init=10, random_state=seed)
        found.fit(points)
    return found.cluster_centers_, found.labels_, tuple(silhouettes)
