import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hwgen.errors import HwgenError
from hwgen.output import OutputFolder, read_manifest

ROOT = Path(__file__).resolve().parents[1]


def write(path, text="first"):
    with OutputFolder(path) as folder:
        (folder / "design.json").write_text('{"hwgen": 1}')
        (folder / "a.v").write_text(text)


def contents(path):
    return {p.relative_to(path).as_posix(): p.read_text() for p in path.rglob("*") if p.is_file()}


def test_replaces_its_own_folder_and_leaves_nothing_else(tmp_path):
    out = tmp_path / "deep" / "er" / "out"
    write(out)
    (out / "added").write_text("by somebody")
    write(out, "second")
    assert contents(tmp_path) == {"deep/er/out/design.json": '{"hwgen": 1}', "deep/er/out/a.v": "second"}
    assert read_manifest(out) == {"hwgen": 1}


def test_takes_an_empty_folder(tmp_path):
    (tmp_path / "out").mkdir()
    write(tmp_path / "out")
    assert contents(tmp_path / "out")["a.v"] == "first"


def test_refuses_what_is_not_hwgens(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "design.json").write_text("{}")
    with pytest.raises(HwgenError, match=r"^output folder .*/file is a file: choose another folder$"):
        write(tmp_path / "file")
    with pytest.raises(HwgenError, match=r"^output folder .*/folder holds files that are not hwgen's: choose another"):
        write(tmp_path / "folder")
    with pytest.raises(HwgenError, match=r"^output folder / cannot be replaced: choose another folder$"):
        write(Path("/"))
    with pytest.raises(HwgenError, match=r"^cannot write output folder .*/file/out: (Not a directory|File exists)$"):
        write(tmp_path / "file" / "out")
    assert contents(tmp_path) == {"file": "x", "folder/design.json": "{}"}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("bug"), HwgenError("no")])
def test_an_error_leaves_the_previous_output(tmp_path, error):
    write(tmp_path / "out")

    def fail():
        with OutputFolder(tmp_path / "out") as folder:
            (folder / "a.v").write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert contents(tmp_path) == {"out/design.json": '{"hwgen": 1}', "out/a.v": "first"}


def test_full_disk(tmp_path):
    write(tmp_path / "out")
    script = f"""
import resource, signal
from pathlib import Path
from hwgen.errors import HwgenError
from hwgen.output import OutputFolder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with OutputFolder(Path({str(tmp_path / "out")!r})) as folder:
        (folder / "a.v").write_text("x" * 5000)
except HwgenError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == f"cannot write output folder {tmp_path / 'out'}: {os.strerror(errno.EFBIG)}\n"
    assert contents(tmp_path) == {"out/design.json": '{"hwgen": 1}', "out/a.v": "first"}


def test_read_only_parent(tmp_path):
    if os.geteuid() == 0:
        if not Path("/proc/sys/kernel").is_dir():
            pytest.skip("root may write everywhere")
        target = Path("/proc/sys/kernel/hwgen/out")  # root cannot make folders there
    else:
        (tmp_path / "locked").mkdir(mode=0o500)
        target = tmp_path / "locked" / "out"
    with pytest.raises(HwgenError, match=rf"^cannot write output folder {target}: "):
        write(target)


SLOW_WRITER = """
import sys, time
from pathlib import Path
from hwgen.output import OutputFolder
with OutputFolder(Path(sys.argv[1])) as folder:
    (folder / "a.v").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_in_the_middle(tmp_path, how):
    write(tmp_path / "out")
    command = [sys.executable, "-c", SLOW_WRITER, str(tmp_path / "out")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout.readline() == "writing\n"
        with pytest.raises(HwgenError, match=r"^another hwgen is writing to .*/out: wait for it, or choose another folder$"):
            write(tmp_path / "out", "second")
        process.send_signal(how)
        process.wait()
    assert contents(tmp_path / "out") == {"design.json": '{"hwgen": 1}', "a.v": "first"}
    write(tmp_path / "out", "second")
    assert contents(tmp_path) == {"out/design.json": '{"hwgen": 1}', "out/a.v": "second"}


def test_what_the_disk_refuses(tmp_path):
    """Which file, where it lies elsewhere."""
    (tmp_path / "elsewhere").mkdir()
    refused = f"cannot write output folder {tmp_path}/inside/out: No such file or directory"
    for name, more in (("inside/out/none/x", ""), ("elsewhere/none/x", f": {tmp_path}/elsewhere/none/x")):
        with pytest.raises(HwgenError, match=f"^{re.escape(refused + more)}$"), OutputFolder(tmp_path / "inside/out"):
            (tmp_path / name).write_text("x")


def test_killed_between_the_renames(tmp_path):
    write(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / ".out.hwgen-old")
    with pytest.raises(ValueError, match="bug"), OutputFolder(tmp_path / "out"):
        raise ValueError("bug")
    assert contents(tmp_path) == {"out/design.json": '{"hwgen": 1}', "out/a.v": "first"}


def test_many_writers_at_once(tmp_path):
    script = """
import sys
from pathlib import Path
from hwgen.errors import HwgenError
from hwgen.output import OutputFolder
for k in range(50):
    try:
        with OutputFolder(Path(sys.argv[1])) as folder:
            (folder / "design.json").write_text('{"hwgen": 1}')
            (folder / "a").write_text(sys.argv[2])
            (folder / "b").write_text(sys.argv[2])
    except HwgenError as error:
        assert str(error).startswith("another hwgen"), error
"""
    command = [sys.executable, "-c", script, str(tmp_path / "out")]
    writers = [subprocess.Popen([*command, str(k)], cwd=ROOT) for k in range(3)]
    assert [w.wait() for w in writers] == [0, 0, 0]
    got = contents(tmp_path)
    assert sorted(got) == ["out/a", "out/b", "out/design.json"]
    assert got["out/a"] == got["out/b"]


def test_manifest_errors(tmp_path):
    with pytest.raises(HwgenError, match=r"^.*/none is not a folder that hwgen made: there is no such folder$"):
        read_manifest(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(HwgenError, match=r"^.*/file is not a folder that hwgen made: it is a file$"):
        read_manifest(tmp_path / "file")
    with pytest.raises(HwgenError, match=r"is not a folder that hwgen made: it has no design\.json$"):
        read_manifest(tmp_path)
    manifest = tmp_path / "design.json"
    for text, message in (
        ("{", r"design\.json is not JSON: "),
        ("[]", r"is not a folder that hwgen made: design\.json has no 'hwgen'$"),
        (json.dumps({"hwgen": 99}), r"was made by another version of hwgen \(format 99, not 1\): build it again$"),
    ):
        manifest.write_text(text)
        with pytest.raises(HwgenError, match=message):
            read_manifest(tmp_path)
