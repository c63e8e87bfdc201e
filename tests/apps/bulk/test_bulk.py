"""Bulk edits: the same kind out as in, every picture once whatever is killed, and what is broken named."""

from __future__ import annotations

import io
import multiprocessing
import os
import random
import signal
import tarfile
import time

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow", reason="bulk edits need pyarrow: pip install 'sdd[bulk]'")
pq = pytest.importorskip("pyarrow.parquet")

import cheap  # noqa: E402
from cheap import check_tree, encoded, exchanged, picture, pixels, rows, tree  # noqa: E402
from sdd.apps.bulk import local, manifest, run, tar  # noqa: E402
from sdd.apps.bulk.work import Worker  # noqa: E402
from sdd.apps.pictures import Wish  # noqa: E402
from sdd.errors import SddError  # noqa: E402

DRAWN = Wish(blend=False)  # what comes back is the cheap editor's drawing alone


def threads(order, tasks):
    return local.run(order, tasks, local.Crew(("cpu",), 2))


def two_processes(order, tasks):
    return local.run(order, tasks, local.Crew(("cpu", "cpu"), 2, 1))


def bulk(inputs, out, engine=threads, opener=cheap.opened, wish=DRAWN, settings=None, **named):
    return run.bulk([str(one) for one in inputs], out, opener, wish, settings or {}, engine, **named)


# The same kind out as in


def test_a_tree_becomes_a_tree_and_is_not_edited_again(tmp_path):
    summary = bulk([tree(tmp_path / "in", 40)], tmp_path / "out")
    assert (summary.edited, summary.broken, summary.psnr) == (40, 0, 40 * 30.0)
    check_tree(tmp_path / "out", 40)
    assert {row["status"] for row in rows(tmp_path / "out")} == {"edited"}
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/*/*.png")}
    picture(40).save(tmp_path / "in/b/40.png")
    again = bulk([tmp_path / "in"], tmp_path / "out", opener=cheap.opened)
    assert (again.edited, again.before) == (1, 40)
    assert all(path.stat().st_mtime_ns == at for path, at in times.items())
    assert bulk([tmp_path / "in"], tmp_path / "out", opener=cheap.missing).edited == 0  # nobody is asked


def test_names_are_given_once_and_nothing_is_written_over(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "in/out"
    folder.mkdir()
    for seed, name in enumerate(("a.png", "a.jpg", "a.webp", "b.jpg", "b.jpg.png")):
        picture(seed).save(folder / name, lossless=True)
    out.mkdir()
    (out / "b.png").write_bytes(b"mine")
    (folder / "broken.png").write_bytes(encoded(9)[:60])
    (folder / os.fsdecode(b"\xff.png")).write_bytes(encoded(9))
    summary = bulk([folder], out)
    assert (out / "b.png").read_bytes() == b"mine" and (summary.edited, summary.broken) == (5, 2)
    found = {os.path.basename(row["source"]): row for row in rows(out)}
    outputs = [row["output"] for row in found.values() if row["output"]]
    assert found["a.png"]["output"] == "a.png" and found["b.jpg.png"]["output"] == "b.jpg.png"
    assert len(set(outputs)) == 5 and all((out / name).is_file() for name in outputs)
    assert found["broken.png"]["status"] == "broken" and "broken.png" in found["broken.png"]["error"]
    assert "rename it" in found["\\xff.png"]["error"] and found["\\xff.png"]["inversion_db"] is None
    assert bulk([folder], out).edited == 0


def test_patterns_and_several_folders(tmp_path):
    tree(tmp_path / "in", 9)
    bulk([f"{tmp_path}/in/*/*.png"], tmp_path / "pattern")
    check_tree(tmp_path / "pattern", 9)
    bulk([tmp_path / "in/a", tmp_path / "in/b"], tmp_path / "two")
    assert {row["output"] for row in rows(tmp_path / "two")} == {
        f"{'abc'[i % 3]}/{i}.png" for i in range(9) if i % 3 < 2
    }


@pytest.mark.parametrize("struct", [False, True])
def test_parquet_becomes_parquet(tmp_path, struct):
    """Rows, other columns and what the schema says stay; only the pictures are others."""
    data = [encoded(i, ("PNG", "BMP")[i % 2]) for i in range(150)]
    data[70], data[149] = b"junk", None
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())]) if struct else pa.large_binary()
    values = [None if d is None else {"bytes": d, "path": "/etc/passwd"} for d in data] if struct else data
    table = pa.table({"id": list(range(150)), "image": pa.array(values, kind), "text": [f"t{i}" for i in range(150)]})
    table = table.replace_schema_metadata({"huggingface": "x"})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=100)
    summary = bulk([tmp_path / "x.parquet"], tmp_path / "out")
    assert (summary.edited, summary.broken) == (148, 2)
    result = pq.read_table(tmp_path / "out/x.parquet")
    assert result.schema.equals(table.schema, check_metadata=True)
    assert result.drop_columns("image").equals(table.drop_columns("image"))
    for i, value in enumerate(result["image"].to_pylist()):
        if i in (70, 149):
            assert value is None
            continue
        assert not struct or value["path"] == "/etc/passwd"
        assert np.array_equal(pixels(value["bytes"] if struct else value), exchanged(i))
    found = sorted(rows(tmp_path / "out"), key=lambda row: row["index"])
    assert [row["index"] for row in found] == list(range(150))
    assert [row["index"] for row in found if row["status"] == "broken"] == [70, 149]
    parts = list((tmp_path / "out" / manifest.STATE).rglob("*.parquet"))
    assert parts and all(manifest.is_settled(part) for part in parts)  # pictures are not kept twice
    with pytest.raises(SddError, match="no column 'text' of bytes"):
        bulk([tmp_path / "x.parquet"], tmp_path / "other", column="text")


def write_tar(path, members):
    with tarfile.open(path, "w") as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            if data is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            info.size = len(data or b"")
            file.addfile(info, io.BytesIO(data or b""))


def test_a_tar_becomes_a_tar(tmp_path):
    members = [
        (f"s/{i:03d}.{ext}", data) for i in range(40) for ext, data in (("bmp", encoded(i, "BMP")), ("json", b"{}"))
    ]
    members[20] = (members[20][0], b"junk")
    members += [("../../up.png", encoded(99)), ("/abs.txt", b"t"), ("link.png", None)]
    write_tar(tmp_path / "x.tar", members)
    summary = bulk([tmp_path / "x.tar"], tmp_path / "out")
    assert (summary.edited, summary.broken) == (40, 1)
    with tarfile.open(tmp_path / "out/x.tar") as result:
        found = {member.name: result.extractfile(member).read() for member in result}
    assert len(found) == 40 + 39 + 2 and "s/010.png" not in found and found["s/010.json"] == b"{}"
    assert found["abs.txt"] == b"t" and np.array_equal(pixels(found["up.png"]), exchanged(99))
    for i in (0, 39):
        assert np.array_equal(pixels(found[f"s/{i:03d}.png"]), exchanged(i))
    assert {row["member"] for row in rows(tmp_path / "out") if row["status"] == "broken"} == {"s/010.bmp"}
    assert bulk([tmp_path / "x.tar"], tmp_path / "out", opener=cheap.missing).edited == 0
    assert bulk([tmp_path / "x.tar"], tmp_path / "some", column="bmp").edited == 39
    with tarfile.open(tmp_path / "some/x.tar") as result:
        assert result.extractfile("up.png").read() == encoded(99)  # of another extension: as it is


def test_hostile_tars_are_one_sentence(tmp_path):
    write_tar(tmp_path / "good.tar", [("a.png", encoded(0))])
    good = (tmp_path / "good.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(good[:600])
    header = bytearray(good[:512])
    header[124:136] = b"\xff" * 4 + (-1024).to_bytes(8, "big", signed=True)  # a size that leads back to where it began
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "loop.tar").write_bytes(bytes(header) + good[512:])
    claims = tarfile.TarInfo("x")
    claims.type, claims.size = tarfile.XHDTYPE, 2**40
    (tmp_path / "claims.tar").write_bytes(claims.tobuf() + good)
    (tmp_path / "none.tar").write_bytes(b"junk" * 200)
    for name in ("cut", "loop", "claims", "none"):
        with pytest.raises(SddError, match=f"{name}.tar"):
            bulk([tmp_path / f"{name}.tar"], tmp_path / f"out-{name}")
    summary = bulk([f"{tmp_path}/*.tar"], tmp_path / "out")  # those that can be read go on
    assert (summary.edited, summary.broken) == (1, 4)
    assert sum(row["status"] == "broken" and row["index"] == -1 for row in rows(tmp_path / "out")) == 4
    assert tar.safe_name("/a/../..//b\x1b[2J\n.png") == "a/b[2J .png"


def test_addresses_are_read_as_files_are(tmp_path):
    write_tar(tmp_path / "x-1.tar", [("a.png", encoded(0))])
    pq.write_table(pa.table({"image": [encoded(1)]}), tmp_path / "y.parquet")
    bulk([f"file://{tmp_path}/x-*.tar", f"file://{tmp_path}/y.parquet"], tmp_path / "out")
    assert np.array_equal(pixels(pq.read_table(tmp_path / "out/y.parquet")["image"][0].as_py()), exchanged(1))
    assert (tmp_path / "out/x-1.tar").exists()


# Refusals


def test_what_cannot_be_asked_for(tmp_path):
    folder = tree(tmp_path / "in", 3)
    (tmp_path / "empty").mkdir()
    for given, named in ((tmp_path / "none", "no such file or folder"), (tmp_path / "empty", "no pictures in")):
        with pytest.raises(SddError, match=named):
            bulk([given], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(SddError, match="not written over"):
        bulk([folder], folder)
    bulk([folder], tmp_path / "out", settings={"strength": 1.0})
    with pytest.raises(SddError, match=r"made otherwise \(strength 1.0, not 0.5\)"):
        bulk([folder], tmp_path / "out", settings={"strength": 0.5})
    with pytest.raises(SddError, match="unknown level"):
        bulk([folder], tmp_path / "levels", wish=Wish(levels=("x",)))
    pq.write_table(pa.table({"image": [encoded(1)]}), tmp_path / "y.parquet")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/y.parquet").write_bytes(b"mine")
    with pytest.raises(SddError, match="there already"):
        bulk([tmp_path / "y.parquet"], tmp_path / "theirs")
    assert (tmp_path / "theirs/y.parquet").read_bytes() == b"mine"


# Kills


def test_a_driver_that_is_killed_at_any_moment_is_gone_on_from(tmp_path):
    """A tree, a table and a tar; each driver is killed at a random moment, what it committed is never edited again."""
    count, chance = 64, random.Random(0)
    tree(tmp_path / "in", count)
    pq.write_table(pa.table({"image": [encoded(i) for i in range(count)]}), tmp_path / "y.parquet")
    write_tar(tmp_path / "x.tar", [(f"{i:03d}.png", encoded(i)) for i in range(count)])
    out, inputs = tmp_path / "out", [tmp_path / "in", tmp_path / "y.parquet", tmp_path / "x.tar"]
    bulk([tmp_path / "in/a/0.png"], tmp_path / "warm")  # what is imported now need not be by every driver
    committed, longest = {}, 0.1
    for _ in range(12):
        child = os.fork()
        if child == 0:
            try:
                bulk(inputs, out, opener=cheap.slow)
            finally:
                os._exit(0)
        time.sleep(chance.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        before = len(committed)
        for part in (out / manifest.STATE).glob("run-*/[0-9]*.parquet"):
            for row in manifest.rows_of(part):
                assert committed.setdefault((row.source, row.index), row) == row, "edited again"
        longest *= 0.8 if len(committed) > before + 40 else 1.3
    assert committed
    bulk(inputs, out)
    found = rows(out)
    assert len(found) == 3 * count and len({(row["source"], row["index"]) for row in found}) == 3 * count
    assert all(found_row == committed.get((found_row["source"], found_row["index"]), manifest.Row(**found_row)).__dict__
               for found_row in found)  # fmt: skip
    table = pq.read_table(out / "y.parquet")["image"].to_pylist()
    with tarfile.open(out / "x.tar") as result:
        held = [result.extractfile(member).read() for member in result]
    for i in range(count):
        for data in (table[i], held[i], (out / f"{'abc'[i % 3]}/{i}.png").read_bytes()):
            assert np.array_equal(pixels(data), exchanged(i))
    left = [path for path in out.rglob("*") if path.is_file() and path.suffix not in (".png", ".parquet", ".tar")]
    assert left == [out / manifest.STATE / "settings.json"], "a half file"


def test_a_driver_that_was_left_behind_commits_nothing(tmp_path):
    """As a worker on another machine may be: the next run has taken what there was, and the old one stops."""
    tree(tmp_path / "in", 40)
    seen = []

    def overtaken(order, tasks):
        worker = Worker(order)
        yield worker(next(tasks))
        seen.append(bulk([tmp_path / "in"], tmp_path / "out"))
        yield worker(next(tasks))

    with pytest.raises(SddError, match="another `sdd bulk`"):
        bulk([tmp_path / "in"], tmp_path / "out", engine=overtaken)
    assert (seen[0].before, seen[0].edited) == (16, 24)
    bulk([tmp_path / "in"], tmp_path / "out")
    check_tree(tmp_path / "out", 40)


def test_workers_that_die_are_replaced(tmp_path, monkeypatch):
    """Killed ones, and ones that die of a picture: that picture is named, and no other is lost."""
    monkeypatch.setattr(local, "START", "fork")  # which costs nothing; the cheap editor survives it
    tree(tmp_path / "in", 60)
    black = picture(60)
    black.putpixel((0, 0), (0, 0, 0))
    black.save(tmp_path / "in/a/black.png")
    killed = []

    def kill(done, left):
        if done < 40:
            killed.append(multiprocessing.active_children()[0])
            killed[-1].kill()

    summary = bulk([tmp_path / "in"], tmp_path / "out", engine=two_processes, opener=cheap.deadly, progress=kill)
    assert (summary.edited, summary.broken) == (60, 1) and killed
    assert "black.png" in summary.sentences[0] and "died" in summary.sentences[0]
    found = rows(tmp_path / "out")
    assert len(found) == len({row["source"] for row in found}) == 61
    assert sum((tmp_path / "out" / row["output"]).is_file() for row in found if row["output"]) == 60


def test_workers_that_cannot_begin_say_why(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "START", "fork")
    with pytest.raises(SddError, match="no such editor"):
        bulk([tree(tmp_path / "in", 3)], tmp_path / "out", engine=two_processes, opener=cheap.missing)


@pytest.mark.slow
def test_processes_that_begin_anew(tmp_path):
    """As users have them: each imports torch, and opens its own editor."""
    tree(tmp_path / "in", 60)
    assert bulk([tmp_path / "in"], tmp_path / "out", engine=two_processes).edited == 60
    check_tree(tmp_path / "out", 60)
