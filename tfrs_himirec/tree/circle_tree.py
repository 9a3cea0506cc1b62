"""The tree of circles as flat arrays, nodes in depth-first order."""

import dataclasses
import functools
import pathlib

import numpy as np

from tfrs_himirec import errors, files
from tfrs_himirec.schema import VERSION

ROOT = 0


@dataclasses.dataclass(frozen=True)
class CircleTree:
    """A tree of circles over items in tree order.

    Node 0 is the root, which is not a circle: it has no path and no token. Because
    leaves stand in depth-first order, every circle is one range of the item table.

    Attributes:
      k: most children of a node.
      parent: int32 `[nodes]`; -1 for the root.
      number: int32 `[nodes]`, the r of the paper in `0..k-1`; -1 for the root.
      start: int64 `[nodes]`, first place of the circle's range.
      end: int64 `[nodes]`, one past the last place.
      centroid: float32 `[nodes, dim]`.
    """

    k: int
    parent: np.ndarray
    number: np.ndarray
    start: np.ndarray
    end: np.ndarray
    centroid: np.ndarray

    @property
    def nodes(self) -> int:
        return len(self.parent)

    @property
    def items(self) -> int:
        return int(self.end[ROOT])

    @functools.cached_property
    def children(self) -> np.ndarray:
        """int32 `[nodes, k]`: child with number r, or -1."""
        table = np.full((self.nodes, self.k), -1, np.int32)
        table[self.parent[1:], self.number[1:]] = np.arange(1, self.nodes)
        return table

    @functools.cached_property
    def is_leaf(self) -> np.ndarray:
        """bool `[nodes]`."""
        return np.asarray((self.children < 0).all(axis=1))

    @functools.cached_property
    def level(self) -> np.ndarray:
        """int32 `[nodes]`: length of each node's path; 0 for the root."""
        level = np.zeros(self.nodes, np.int32)
        for node in range(1, self.nodes):  # a parent stands before its children
            level[node] = level[self.parent[node]] + 1
        return level

    @functools.cached_property
    def depth(self) -> int:
        """Length of the longest path."""
        return int(self.level.max())

    @functools.cached_property
    def leaves(self) -> np.ndarray:
        """int64: leaf circles in tree order."""
        return np.flatnonzero(self.is_leaf)

    @functools.cached_property
    def leaf_of_place(self) -> np.ndarray:
        """int64 `[items]`: leaf circle of each place in tree order."""
        return np.repeat(self.leaves, (self.end - self.start)[self.leaves])

    @functools.cached_property
    def ancestors(self) -> np.ndarray:
        """int32 `[nodes, depth + 1]`: ancestor at each level; -1 below the node."""
        table = np.full((self.nodes, self.depth + 1), -1, np.int32)
        table[ROOT, 0] = ROOT
        for node in range(1, self.nodes):
            table[node] = table[self.parent[node]]
            table[node, self.level[node]] = node
        return table

    @functools.cached_property
    def paths(self) -> list[str]:
        """Semantic category IDs as text, such as "2/4/4"; "" for the root."""
        paths = [""]
        for node in range(1, self.nodes):
            above = paths[self.parent[node]]
            paths.append(
                f"{above}/{self.number[node]}" if above else str(self.number[node])
            )
        return paths

    def node_of_path(self, path: str) -> int:
        """Returns the node of a path such as "2/4/4".

        Raises:
          HimirecError: no circle has this path.
        """
        try:
            return self.paths.index(path)
        except ValueError:
            raise errors.HimirecError(
                f"circle {path!r}: no such path in this tree of {self.nodes - 1} "
                "circles"
            ) from None

    @functools.cached_property
    def fingerprint(self) -> str:
        """Digest of shape and ranges: pairs a model with the tree it was made for."""
        arrays = (self.parent, self.number, self.start, self.end)
        return files.fingerprint([self.k, *(array.tolist() for array in arrays)])

    def save(self, directory: files.Path) -> None:
        """Writes `tree.npz` and `tree.json`, whole or not at all."""
        arrays = {
            name: getattr(self, name)
            for name in ("parent", "number", "start", "end", "centroid")
        }
        with files.atomic_directory(directory) as temporary:
            np.savez(temporary / "tree.npz", version=VERSION, k=self.k, **arrays)
            files.write_json(temporary / "tree.json", self.report())

    def report(self) -> dict:
        """Returns occupancy, depth and entropy; entropy is in bits over the leaves."""
        sizes = (self.end - self.start)[self.leaves]
        share = sizes / sizes.sum()
        levels = self.level[self.leaves]
        entropy = float(-(share * np.log2(share)).sum())
        return {
            "schema_version": VERSION,
            "fingerprint": self.fingerprint,
            "k": self.k,
            "items": self.items,
            "circles": self.nodes - 1,
            "leaf_circles": len(self.leaves),
            "depth": {
                "min": int(levels.min()),
                "max": self.depth,
                "mean": float(levels.mean()),
            },
            "occupancy": {
                "min": int(sizes.min()),
                "median": float(np.median(sizes)),
                "max": int(sizes.max()),
            },
            "entropy_bits": entropy,
            "entropy_of_equal_leaves_bits": float(np.log2(len(sizes))),
        }


def load(run_dir: files.Path) -> CircleTree:
    """Reads `tree/` of a run directory.

    Raises:
      HimirecError: it is missing or of another schema version.
    """
    path = pathlib.Path(run_dir) / "tree" / "tree.npz"
    if not path.is_file():
        raise errors.HimirecError(f"{path}: no such file; run `himirec prepare` first")
    with np.load(path) as arrays:
        if int(arrays["version"]) != VERSION:
            raise errors.HimirecError(
                f"{path}: schema version {arrays['version']}, this release reads "
                f"{VERSION}; prepare again"
            )
        names = ("parent", "number", "start", "end", "centroid")
        return CircleTree(int(arrays["k"]), **{name: arrays[name] for name in names})
