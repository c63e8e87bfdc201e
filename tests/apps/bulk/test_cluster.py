"""The same bulk edits on a Ray cluster of two nodes."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys

import pytest

pytest.importorskip("pyarrow", reason="bulk edits need pyarrow: pip install 'sdd[bulk]'")

import cheap
from cheap import check_tree, tree
from sdd.apps.bulk import cluster, run
from sdd.apps.pictures import Wish
from sdd.errors import SddError

HERE = importlib.util.find_spec("ray") is not None


@pytest.fixture
def nodes(monkeypatch):
    """Two nodes of one core each, on this machine."""
    pytest.importorskip("ray", reason="Ray is not here: pip install 'sdd[ray]'")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # Workers are processes of their own, which find the editor of the test by this alone.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    from ray.cluster_utils import Cluster

    memory = 2**27
    made = Cluster(True, head_node_args={"num_cpus": 1, "object_store_memory": memory, "include_dashboard": False})
    made.add_node(num_cpus=1, object_store_memory=memory)
    yield made
    made.shutdown()


@pytest.mark.slow
def test_two_nodes_edit_every_picture_once(nodes, tmp_path):
    """Also where a worker is killed in the midst of it."""
    tree(tmp_path / "in", 200)
    killed = []

    def kill(done, left):
        if not killed:
            killed.append(next(p for p in workers() if p != os.getpid()))
            os.kill(killed[0], signal.SIGKILL)

    def engine(order, tasks):
        return cluster.run(order, tasks, address=nodes.address)

    wish = Wish(blend=False)
    summary = run.bulk([str(tmp_path / "in")], tmp_path / "out", cheap.slow, wish, {}, engine, progress=kill)
    assert (summary.edited, summary.broken) == (200, 0) and killed
    check_tree(tmp_path / "out", 200)
    with pytest.raises(SddError, match="no such editor"):
        run.bulk([str(tmp_path / "in")], tmp_path / "other", cheap.missing, wish, {}, engine)


def workers():
    """Processes of Ray's actors."""
    import psutil

    return [p.pid for p in psutil.process_iter(["cmdline"]) if "ray::MapWorker" in " ".join(p.info["cmdline"] or ())]


@pytest.mark.skipif(HERE, reason="Ray is here")
def test_without_ray_one_sentence_says_how_to_get_it(tmp_path):
    with pytest.raises(SddError, match=r"pip install 'sdd\[ray\]'"):
        list(cluster.run(None, iter([1])))
