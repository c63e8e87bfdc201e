"""A run's folder: full disks, killed processes, a second training, and files that are not the run's."""

import errno
import json
import os
import pickle
import subprocess
import sys

import pytest
import torch

from sdd.errors import SddError
from sdd.io import files
from sdd.training.run import Run

CARD = {"prompt": "white hair", "seed": 0}


def test_a_second_training_in_the_folder_is_refused(tmp_path):
    first = Run(tmp_path, CARD)
    with pytest.raises(SddError, match="another training is running"):
        Run(tmp_path, CARD)
    script = f"from sdd.training.run import Run; Run({str(tmp_path)!r}, {CARD!r})"
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "another training is running" in other.stderr
    first.close()
    Run(tmp_path, CARD).close()


def test_a_killed_training_leaves_no_lock_and_no_temporary_files(tmp_path):
    script = (
        "import os, signal; from sdd.training.run import Run; from sdd.io.files import atomic_path\n"
        f"run = Run({str(tmp_path)!r}, {CARD!r}); run.save({{'step': 1}})\n"
        "with atomic_path(run.folder / 'checkpoint.pt') as aside:\n"
        "    aside.write_bytes(b'half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    assert len(list(tmp_path.glob(".*.part"))) == 1
    run = Run(tmp_path, CARD)
    assert not list(tmp_path.glob(".*.part")) and run.restore() == {"step": 1}
    run.close()


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    run = Run(tmp_path, CARD)
    run.save({"step": 1, "weights": torch.ones(3)})

    def full(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.Path, "write_bytes", full)
    with pytest.raises(SddError, match="No space left"):
        run.save({"step": 2})
    monkeypatch.undo()
    restored = run.restore()
    assert restored["step"] == 1 and torch.equal(restored["weights"], torch.ones(3))
    run.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the device that is always full")
def test_a_full_disk_while_logging_is_one_sentence(tmp_path):
    run = Run(tmp_path, CARD)
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(SddError, match="No space left"):
        run.log(1, {"loss": 1.0})
    with pytest.raises(SddError, match="is a link"):
        run.start(0)
    run.close()


def test_a_damaged_log_keeps_its_whole_lines(tmp_path):
    run = Run(tmp_path, CARD)
    good = [json.dumps({"step": step, "loss": 0.5}) for step in (1, 2, 3)]
    bad = ["3", "[]", "null", '{"step": "x"}', '{"step": null}', '{"loss"', "[" * 100_000, "\ud800"]
    text = "\n".join([good[0], *bad, *good[1:]])
    (tmp_path / "log.jsonl").write_bytes(text.encode(errors="surrogatepass") + b"\n\xff\xfe\x00\n")
    run.start(2)
    assert (tmp_path / "log.jsonl").read_text().splitlines() == good[:2]
    run.close()


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    run = Run(tmp_path, CARD)
    path = tmp_path / "checkpoint.pt"
    torch.save({"step": 3}, path)
    with pytest.raises(SddError, match="not of this run"):
        run.restore()
    for content in (b"", b"half", pickle.dumps(Attack(tmp_path / "ran"))):
        path.write_bytes(content)
        with pytest.raises(SddError, match="damaged"):
            run.restore()
    assert not (tmp_path / "ran").exists()
    other = Run(tmp_path / "other", {**CARD, "seed": 1})
    other.save({"step": 3})
    path.write_bytes((tmp_path / "other" / "checkpoint.pt").read_bytes())
    with pytest.raises(SddError, match="not of this run"):
        run.restore()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SddError, match="damaged"):
        run.restore()
    for each in (run, other):
        each.close()


class Attack:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)
