"""The specification of minidl/checkpoint/: what comes back, what is refused, what faults do."""

from __future__ import annotations

import base64
import collections
import concurrent.futures
import enum
import errno
import io
import itertools
import json
import math
import os
import pathlib
import pickle
import random
import signal
import stat
import struct
import subprocess
import sys
import time
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minidl import checkpoint
from minidl.checkpoint import CheckpointError, archive, folder, load, save
from minidl.checkpoint.tree import encoded

ROOM = pathlib.Path(checkpoint.__file__).parent
ROOT = ROOM.parent.parent
on_posix = pytest.mark.skipif(os.name != "posix", reason="about POSIX files")

DTYPES = ["?", "i1", "u1", "S3"] + [
    order + code for order in "<>" for code in [*"bhlBHLefdFD", "U3", "M8[ns]", "m8[7s]"]
]

SMALL = {
    "epoch": 3,
    "model": {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.zeros(0)},
    "betas": (0.9, math.nan),
    "step": [np.int64(7), 2**70, None, True, "text"],
    "fortran": np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3)),
}


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncing changes nothing that a living system sees, and a busy disk makes it slow."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def round_trip(state: Any, path: pathlib.Path) -> Any:
    save(path, state)
    return load(path)


def same(a: Any, b: Any) -> bool:
    """Say whether two states are the same to the bit, types and memory layout included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(itertools.starmap(same, zip(a, b, strict=True)))
    if isinstance(a, np.ndarray):
        return (a.dtype.str, a.shape, a.flags.fnc, a.tobytes()) == (
            b.dtype.str,
            b.shape,
            b.flags.fnc,
            b.tobytes(),
        )
    if isinstance(a, np.generic):
        return a.dtype.str == b.dtype.str and a.tobytes() == b.tobytes()
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    return a == b


def float_of(bits: int) -> float:
    return struct.unpack(">d", bits.to_bytes(8, "big"))[0]


def forge(path: pathlib.Path, description: Any, arrays: tuple[np.ndarray, ...] = ()) -> None:
    """Write an archive without a flaw, checksums and all, around any description."""
    if not isinstance(description, bytes):
        description = json.dumps(description).encode()
    data = np.frombuffer(description, np.uint8)
    members = [archive.DESCRIPTION._replace(shape=data.shape)]
    for number, array in enumerate(arrays):
        members.append(archive.Member(f"array_{number}.npy", array.dtype.str, array.shape))
    path.unlink(missing_ok=True)
    with open(path, "wb", buffering=0) as file:
        archive.write_archive(file, members, [data, *arrays])


def description_of(state: Any, arrays: Any = (), version: Any = 1) -> dict[str, Any]:
    return {
        "format": "minidl checkpoint",
        "version": version,
        "arrays": list(arrays),
        "state": state,
    }


def names_in(folder: pathlib.Path) -> list[str]:
    return sorted(os.listdir(folder))


# ---- What comes back


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_of_every_dtype_keep_every_bit(dtype: str, path: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    size = 24 * np.dtype(dtype).itemsize
    # Any bits: NaN payloads, subnormals and -0.0 among them. (Text must be code points, bools 0/1.)
    high = 2 if dtype == "?" else 256
    array = rng.integers(0, high, size, dtype=np.uint8).view(dtype).reshape(2, 3, 4)
    if "U" in dtype:
        array = np.array(["", "a\0b", "\U0001f600é"], dtype)
    assert same(round_trip({"x": array}, path)["x"], array)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_special_floats_keep_their_bits(dtype: type, path: pathlib.Path) -> None:
    info = np.finfo(dtype)
    quiet: np.ndarray = np.array([np.nan, -np.nan], dtype)
    payloads = quiet.view(f"u{quiet.itemsize}") + np.arange(1, 3).astype(f"u{quiet.itemsize}")
    special: np.ndarray = np.array([0.0, -0.0, np.inf, -np.inf, info.max, info.tiny], dtype)
    array = np.concatenate([special, [info.smallest_subnormal], quiet, payloads.view(dtype)])
    array = array.astype(dtype, copy=False)
    assert np.unique(array.view(payloads.dtype)).size == array.size
    assert same(round_trip(array, path), array)


@pytest.mark.parametrize(
    "shape", [(), (0,), (0, 3), (3, 0, 2), (1,), (1, 1, 1), (7,), (2, 3, 4), (1,) * 63 + (2,)]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_every_shape_come_back(shape: tuple, order: Any, path: pathlib.Path) -> None:
    array = np.arange(math.prod(shape), dtype=np.float32).reshape(shape, order=order)
    assert same(round_trip(array, path), array)


BASE = np.arange(24.0).reshape(4, 6)


@pytest.mark.parametrize(
    "array",
    [
        BASE[::2, ::3],
        BASE[::-1, ::-1],
        BASE.T[1:],
        BASE.astype(">f4")[:, 1:3],
        np.broadcast_to(np.float32(2), (3, 4)),
        np.broadcast_to(np.arange(3), (0, 3)),
        np.arange(24).reshape(2, 3, 4).transpose(1, 2, 0),
    ],
    ids=["stepped", "reversed", "f-slice", "big-endian", "zero-stride", "empty", "permuted"],
)
def test_views_come_back_as_contiguous_arrays_of_the_same_values(
    array: np.ndarray, path: pathlib.Path
) -> None:
    loaded = round_trip(array, path)
    assert loaded.flags.c_contiguous
    assert (loaded.dtype, loaded.shape) == (array.dtype, array.shape)
    assert loaded.tobytes() == array.tobytes()


@pytest.mark.parametrize("n", [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_arrays_around_and_beyond_the_size_of_a_piece_come_back(n: int, path: pathlib.Path) -> None:
    array = np.random.default_rng(1).integers(0, 256, 2 * n, dtype=np.uint8)
    state = [array[:n], array[::2], array[: n // 12 * 12].view("S12")]
    assert same(round_trip(state, path), [np.ascontiguousarray(part) for part in state])


def test_a_memmap_comes_back_as_an_array(tmp_path: pathlib.Path, path: pathlib.Path) -> None:
    mapped = np.memmap(tmp_path / "data", np.float32, "w+", shape=(3,))
    mapped[:] = [1, 2, 3]
    assert same(round_trip(mapped, path), np.array([1, 2, 3], np.float32))


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -1,
        2**53,
        2**53 + 1,
        -(2**53) - 1,
        2**64,
        10**5000 + 1,
        -(10**5000),
        0.0,
        -0.0,
        0.1,
        1.0,
        1e308,
        5e-324,
        math.inf,
        -math.inf,
        math.nan,
        float_of(0x7FF8_0000_DEAD_BEEF),
        float_of(0xFFF8_0000_0000_0001),
        1 + 2j,
        complex(-0.0, math.nan),
        complex(math.inf, -0.0),
        "",
        "text",
        "\0",
        "\n\"\\'\x7f\u2028",
        "żółć 😀",
        "\ud83d",
        "\ud83d\ude00",
        [],
        {},
        (),
        [[], {}, (), [()]],
        {"a": {"a": {"a": [1, (2, {"a": None})]}}},
        [True, 1, 1.0, np.float64(1), np.True_],
        {"dict": {"array": 0}, "tuple": [1], "int": "0x1"},
    ],
    ids=lambda value: ascii(value)[:20] if not isinstance(value, int) else hex(value)[:20],
)
def test_python_values_come_back_with_type_and_bits(value: Any, path: pathlib.Path) -> None:
    assert same(round_trip(value, path), value)
    assert same(round_trip({"deep": [value, (value,)]}, path), {"deep": [value, (value,)]})


@pytest.mark.parametrize(
    "scalar",
    [
        np.True_,
        np.int8(-3),
        np.uint64(2**64 - 1),
        np.float16(0.1),
        np.float32(-0.0),
        np.float64(0.1),
        np.uint32(0x7FC0_1234).view(np.float32),
        np.complex64(1 - 2j),
        np.complex128(complex(math.nan, -0.0)),
        np.str_("cat"),
        np.str_(""),
        np.datetime64("2024-02-29T12:00:00.000000001"),
        np.datetime64("NaT", "s"),
        np.timedelta64(5, "m"),
    ],
    ids=repr,
)
def test_numpy_scalars_come_back_with_type_and_bits(scalar: Any, path: pathlib.Path) -> None:
    assert same(round_trip([scalar], path), [scalar])


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937, np.random.Philox])
def test_the_state_of_a_generator_comes_back(kind: Any, path: pathlib.Path) -> None:
    generator = np.random.Generator(kind(5))
    generator.random(3)
    twin = np.random.Generator(kind(6))
    twin.bit_generator.state = round_trip(generator.bit_generator.state, path)
    assert generator.random(100).tobytes() == twin.random(100).tobytes()


def test_names_never_become_names_of_files_or_of_members(path: pathlib.Path) -> None:
    names = ["allow_pickle", "file", "../../x", "/etc/x", "", ".", "description", "array_0"]
    names += ["array_0.npy", "a/b", "a\\b", "\0", "con", "é\ud800", "x" * 10_000, "args", "state"]
    state = {name: np.full(2, number) for number, name in enumerate(names)}
    assert same(round_trip(state, path), state)
    assert names_in(path.parent) == ["run.npz"]
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["description.npy"] + [
            f"array_{number}.npy" for number in range(len(names))
        ]


def test_loaded_arrays_are_writable_and_own_their_memory(path: pathlib.Path) -> None:
    array = np.arange(5.0)
    array.flags.writeable = False
    state = {"a": array, "b": array, "c": np.asfortranarray(BASE), "d": np.array(3)}
    first, second = round_trip(state, path), load(path)
    for loaded in [*first.values(), *second.values()]:
        assert loaded.flags.owndata
        assert loaded.flags.writeable
    assert not np.shares_memory(first["a"], first["b"])
    first["a"][:] = -1
    assert same(second["a"], array)
    assert same(load(path)["a"], array)


def test_saving_leaves_the_state_as_it_was(path: pathlib.Path) -> None:
    inner: list = [BASE]
    state = {"x": inner, "y": (1,)}
    save(path, state)
    assert list(state) == ["x", "y"]
    assert state["x"] is inner
    assert inner[0] is BASE


def test_the_same_state_gives_the_same_file(tmp_path: pathlib.Path) -> None:
    save(tmp_path / "a", SMALL)
    save(tmp_path / "b", load(tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


VERSION_1 = (
    "c-pO0L2uJA6n5IKNN`{W4m(UJ_!2<b<YW~q(*!#qqzUK&Bv4dMA$6#=G>H;-YzmS319k!-apcHP;O}tc#2pUsoW$Flgl"
    "S?tHGTH;%jfU;eer0w+gn4W-9o=UzK?%bb{*Y76PkJni#dzJ^)Not&@x)>l*!V6c>3bW=#_>JP-YbA#+Gipn_Gsd8-A4"
    "V#0~eNWI{#!ksG8G;_1|lDa>yVEZe+e>bd^Ub~VGW%gp6?OUE-7vPqzOQ|j%<5eqpsb$mdR6!^os1v58E+@lmGj)S-T0"
    "VFuKsc(!;-52D*i}+B)i4uIk>@&$cnbR?NoN|{_fXncNdAu0VIP#`2+JNO*G@*gI{Fbse({fmlff30e^)+)-C2Hk)5vR"
    "Ob;PW^TdpTtNz6o<bh|0P*eSb*K7|zFe!HvcuJ;SNz25ut8c$<mhFxe!EVev+W#hC#hIUJC>VMqw)K~NSC5S$)zEY6^6"
    "vqIhm^7%*+*R${Ft`yfb5Lc19N2IVmRf*EK3JY3xAz_I&T~b&ji^W6u+kqcE3wS>7s72j-?4-@2ELqf|N?e>@)bK(@kx"
    "PCnP?Spk+s&U}n&fRs{<um!K94+n7j5L97aIAW4JkU(MH=d%4q6)RYMnLox0`DfotlU=?y;4|JtnOVtg5yStY~<pq2Y0"
    "-9aL3KJE$c=>l(7V?VxHm+d*v!TJP<T6VQI&tYW9&2o7EKFSXKt?VY@LMfl}@IoFEVQeSQ_4WU1^E{-7"
)


def test_a_checkpoint_has_the_bytes_of_its_format(path: pathlib.Path) -> None:
    """A change of any is another format, with another version: old files must be read still."""
    old = zlib.decompress(base64.b85decode(VERSION_1))
    save(path, SMALL)
    assert path.read_bytes() == old
    path.write_bytes(old)
    assert same(load(path), SMALL)


def test_numpy_alone_opens_a_checkpoint(path: pathlib.Path) -> None:
    save(path, SMALL)
    with np.load(path, allow_pickle=False) as archive:
        tree = json.loads(bytes(archive["description"]))["state"]["dict"]
        for name, expected in SMALL["model"].items():  # type: ignore[attr-defined]
            number = tree["model"]["dict"][name]["array"]
            assert same(archive[f"array_{number}"], expected)
        assert same(archive[f"array_{tree['fortran']['array']}"], SMALL["fortran"])


def test_other_zip_programs_find_nothing_wrong_with_a_checkpoint(path: pathlib.Path) -> None:
    save(path, SMALL)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())


def test_saving_and_loading_take_no_second_copy_of_the_arrays(path: pathlib.Path) -> None:
    megabyte = 1 << 20
    whole = np.zeros(16 * megabyte, np.uint8)
    state = [whole[: 8 * megabyte], whole[::2], whole.reshape(4, -1).T[: megabyte // 2]]
    tracemalloc.start()
    save(path, state)
    assert tracemalloc.get_traced_memory()[1] < 4 * megabyte
    tracemalloc.reset_peak()
    loaded = load(path)
    assert tracemalloc.get_traced_memory()[1] < 22 * megabyte
    tracemalloc.stop()
    assert sum(array.nbytes for array in loaded) == 18 * megabyte


def test_a_hundred_levels_work(path: pathlib.Path) -> None:
    state: Any = BASE
    for level in range(100):
        state = [{"x": state}, [state], (state,)][level % 3]
    assert same(round_trip(state, path), state)


# ---- What is refused when saving


class Level(enum.IntEnum):
    LOW = 1


class Point(collections.namedtuple("Point", "x y")):
    pass


class TensorLike:
    def numpy(self) -> np.ndarray:
        return BASE


class ModuleLike:
    def state_dict(self) -> dict:
        return {}


REFUSED = {
    "object array": (np.array([1, "a"], object), "dtype object.*pickle.*astype"),
    "object in a structure": (np.zeros(2, "f4, O"), "pickle"),
    "structured array": (np.zeros(2, "f4, i4"), "each field"),
    "structured scalar": (np.zeros(2, "f4, i4")[0], "each field"),
    "variable-width strings": (np.array(["a"], np.dtypes.StringDType()), "astype"),
    "masked array": (np.ma.masked_array([1, 2], [True, False]), "MaskedArray.*mask apart"),
    "record array": (np.zeros((2, 2)).view(np.recarray), r"recarray.*numpy\.asarray"),
    "set": ({1, 2}, "a set cannot be saved; a checkpoint holds dicts"),
    "bytes": (b"ab", r"bytes.*numpy\.frombuffer"),
    "numpy bytes": (np.bytes_(b"ab"), r"bytes_.*numpy\.frombuffer"),
    "enum": (Level.LOW, r"Level.*int\(value\)"),
    "named tuple": (Point(1, 2), r"Point.*tuple\(value\)"),
    "ordered dict": (collections.OrderedDict(a=1), r"OrderedDict.*dict\(value\)"),
    "function": (len, "builtin_function_or_method"),
    "class": (ModuleLike, "a type cannot be saved"),
    "range": (range(3), "range"),
    "tensor": (TensorLike(), r"TensorLike.*its numpy\(\)"),
    "module": (ModuleLike(), r"ModuleLike.*its state_dict\(\)"),
    "dict with an int key": ({1: 2}, r"the key 1 is of type int.*str\(key\)"),
    "dict with a numpy key": ({np.str_("a"): 2}, "is of type str_"),
    "dict with a tuple key": ({("a",): 2}, "is of type tuple"),
}
if np.dtype(np.longdouble).itemsize > 8:
    REFUSED["long double"] = (np.zeros(2, np.longdouble), "same on every machine.*astype")
    REFUSED["long double scalar"] = (np.longdouble(1), "same on every machine.*astype")


@pytest.mark.parametrize(("value", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_other_values_are_refused_with_their_place(
    value: Any, message: str, path: pathlib.Path
) -> None:
    save(path, "old")
    with pytest.raises(TypeError, match=rf'^state\["model"\]\[2\]\["w"\]: .*{message}'):
        save(path, {"a": 1, "model": [0, 1, {"v": 0, "w": value}]})
    with pytest.raises(TypeError, match=rf"^state: .*{message}"):
        save(path, value)
    assert load(path) == "old"
    assert names_in(path.parent) == ["run.npz"]


def test_a_state_that_contains_itself_is_refused_with_the_place(path: pathlib.Path) -> None:
    loop: dict = {"a": []}
    loop["a"].append((loop,))
    with pytest.raises(ValueError, match=r'^state\["a"\]\[0\]\[0\]: the dict contains itself'):
        save(path, loop)
    assert names_in(path.parent) == []


def test_a_container_that_stands_in_two_places_is_saved_twice(path: pathlib.Path) -> None:
    shared = [1]
    loaded = round_trip([shared, shared], path)
    assert loaded == [[1], [1]]
    assert loaded[0] is not loaded[1]


@pytest.mark.parametrize("levels", [101, 100_000])
def test_a_state_with_too_many_levels_is_refused(levels: int, path: pathlib.Path) -> None:
    state: list = []
    for _ in range(levels - 1):
        state = [state]
    with pytest.raises(ValueError, match=r"\[0\]: the state has more than 100 levels"):
        save(path, state)


def test_a_state_of_more_containers_than_load_makes_is_refused(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "_MOST", 100)
    for state in ([[]] * 97, [()] * 48, [{}] * 48, ["[{" * 100, '"[{', "\\"] * 9):
        assert same(round_trip(state, path), state)
    for state in ([[]] * 101, [()] * 51, [{}] * 51, [np.zeros(1)] * 34):
        with pytest.raises(ValueError, match=r"against 100: put numbers .* into one array"):
            save(path, state)
    assert load(path) == ["[{" * 100, '"[{', "\\"] * 9  # what was there before


# ---- The file


def test_the_file_has_exactly_the_name_that_was_given(tmp_path: pathlib.Path) -> None:
    longest = "x" * 255
    for name in ["run", "run.npz", "run.tmp", ".hidden", "with space", "żółć", longest]:
        save(tmp_path / name, name)
        save(str(tmp_path / name), name)
        save(os.fsencode(tmp_path / name), name)  # type: ignore[arg-type]
        assert load(tmp_path / name) == name
        assert names_in(tmp_path) == [name]
        (tmp_path / name).unlink()


def test_a_path_relative_to_the_working_folder_works(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save("run", 1)
    assert load("run") == 1


def test_a_path_that_is_none_is_refused() -> None:
    with pytest.raises(TypeError, match="BytesIO"):
        save(io.BytesIO(), 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="BytesIO"):
        load(io.BytesIO())  # type: ignore[arg-type]


@on_posix
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o027, 0o077])
def test_a_new_file_obeys_the_umask_and_an_old_one_keeps_its_permissions(
    umask: int, path: pathlib.Path
) -> None:
    before = os.umask(umask)
    try:
        save(path, 1)
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
        for mode in [0o600, 0o644, 0o660, 0o666]:
            path.chmod(mode)
            save(path, 2)
            assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(before)


@on_posix
def test_a_symbolic_link_is_written_through(tmp_path: pathlib.Path) -> None:
    (tmp_path / "store").mkdir()
    link = tmp_path / "latest"
    link.symlink_to(pathlib.Path("store") / "run.npz")
    for n in [1, 2]:  # first the file does not exist yet
        save(link, n)
        assert link.is_symlink()
        assert load(link) == load(tmp_path / "store" / "run.npz") == n
    assert names_in(tmp_path / "store") == ["run.npz"]
    assert names_in(tmp_path) == ["latest", "store"]


@on_posix
def test_what_is_no_file_is_not_replaced(tmp_path: pathlib.Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(IsADirectoryError, match="folder"):
        save(tmp_path / "folder", 1)
    with pytest.raises(OSError, match=r"not a regular file.*pipe"):
        save(tmp_path / "pipe", 1)
    with pytest.raises(OSError, match="loop"):
        save(tmp_path / "loop", 1)
    with pytest.raises(FileNotFoundError, match=r"no such folder; make it.*missing"):
        save(tmp_path / "missing" / "run", 1)
    with pytest.raises(CheckpointError, match=r"folder: it is a folder"):
        load(tmp_path / "folder")
    with pytest.raises(CheckpointError, match=r"pipe: it is no regular file"):
        load(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError, match="missing"):
        load(tmp_path / "missing")
    assert names_in(tmp_path) == ["folder", "loop", "pipe"]


def test_a_read_only_file_is_not_replaced(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(path, "precious")
    path.chmod(0o444)
    monkeypatch.setattr(os, "access", lambda name, mode: False)  # to root all files are writable
    with pytest.raises(PermissionError, match=r"read-only.*run\.npz"):
        save(path, 1)
    assert load(path) == "precious"


@on_posix
def test_file_and_folder_are_synced_in_the_order_that_makes_them_last(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    replace = os.replace

    def spy_fsync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        size = 0 if is_folder else os.fstat(descriptor).st_size
        events.append("sync folder" if is_folder else f"sync {size} bytes")

    def spy_replace(old: str, new: str) -> None:
        events.append("rename")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    save(path, SMALL)
    assert events == [f"sync {path.stat().st_size} bytes", "rename", "sync folder"]


@on_posix
@pytest.mark.parametrize(("code", "raised"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_only_a_folder_that_cannot_be_synced_may_go_unsynced(
    code: int, raised: bool, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def fails_on_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fails_on_folders)
    if raised:
        with pytest.raises(OSError, match=os.strerror(code)):
            save(path, 1)
    else:
        save(path, 1)
    assert load(path) == 1


# ---- Faults while saving


def stray_of(path: pathlib.Path, text: str = "0") -> pathlib.Path:
    return path.parent / f"{folder._stray_prefix(str(path))}{text}.tmp"


def test_stray_files_of_dead_processes_are_cleared_and_no_others(path: pathlib.Path) -> None:
    other = path.with_name("other.npz")
    for stray in [stray_of(path, "1"), stray_of(path, "2"), stray_of(other)]:
        stray.write_bytes(b"half")
    save(path, 1)
    assert names_in(path.parent) == sorted([stray_of(other).name, "run.npz"])


def test_the_file_that_a_live_save_is_writing_is_not_cleared(path: pathlib.Path) -> None:
    name, file = folder._new_file_beside(str(path), 0o666)
    with file:
        save(path, 1)
        assert os.path.exists(name)
    save(path, 2)
    assert names_in(path.parent) == ["run.npz"]


def test_threads_that_save_to_one_file_at_once_leave_each_other_alone(path: pathlib.Path) -> None:
    def save_often(number: int) -> None:
        for _ in range(20):
            save(path, np.full(1000 + number, number))
            loaded = load(path)
            assert same(loaded, np.full(1000 + loaded[0], loaded[0]))

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(save_often, range(4))) == [None] * 4
    assert names_in(path.parent) == ["run.npz"]


def test_an_array_that_changes_while_it_is_saved_does_not_spoil_the_file(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = np.zeros(1 << 20)
    write = archive._write_all

    def train_and_write(file: Any, data: bytes) -> None:
        array[:] += 1
        write(file, data)

    monkeypatch.setattr(archive, "_write_all", train_and_write)
    assert round_trip(array, path).shape == array.shape


@on_posix
def test_a_file_cleared_between_its_creation_and_its_lock_is_made_again(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = pytest.importorskip("fcntl").flock
    calls: list[int] = []

    def late(file: Any, operation: int) -> None:
        if not calls:
            os.unlink(file.name)  # as another process's clearing would
        calls.append(operation)
        flock(file, operation)

    monkeypatch.setattr("fcntl.flock", late)
    assert round_trip(SMALL["epoch"], path) == 3
    assert len(calls) == 2
    assert names_in(path.parent) == ["run.npz"]


@on_posix
def test_a_file_system_without_locks_is_saved_to(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(file: Any, operation: int) -> None:
        raise OSError(errno.ENOTSUP, "no locks here")

    monkeypatch.setattr("fcntl.flock", no_locks)
    stray_of(path).write_bytes(b"perhaps somebody writes it")
    assert round_trip(1, path) == 1
    assert names_in(path.parent) == sorted([stray_of(path).name, "run.npz"])


def test_a_system_without_flock_is_saved_to(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_file, replace, made = folder._new_file_beside, os.replace, []

    def spy_new_file(target: str, mode: int) -> tuple[str, io.FileIO]:
        made.append(new_file(target, mode))
        return made[-1]

    def replace_of_windows(old: str, new: str) -> None:
        assert made[-1][1].closed
        replace(old, new)

    monkeypatch.setattr(folder, "fcntl", None)
    monkeypatch.setattr(folder, "_new_file_beside", spy_new_file)
    monkeypatch.setattr(os, "replace", replace_of_windows)
    stray_of(path).write_bytes(b"half")
    assert same(round_trip(SMALL, path), SMALL)
    assert names_in(path.parent) == ["run.npz"]


def test_a_system_where_a_folder_cannot_be_opened_is_saved_to(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, opened = os.name, os.open

    def files_only(name: str, *args: Any) -> int:
        assert not os.path.isdir(name)
        return opened(name, *args)

    monkeypatch.setattr(os, "open", files_only)
    monkeypatch.setattr(os, "name", "nt")
    save(str(path), 1)
    monkeypatch.setattr(os, "name", system)
    assert load(path) == 1


@pytest.mark.parametrize("named", [None, "/elsewhere"])
def test_an_error_names_the_file_unless_the_system_has_named_one(
    named: str | None, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), named)

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="error") as caught:
        save(path, 1)
    assert caught.value.filename == (named or os.path.realpath(path))


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError])
def test_an_error_is_raised_as_it_is_also_where_nothing_can_be_tidied_up(
    error: type[BaseException], path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: Any) -> None:
        raise error("in between")

    def cannot_unlink(*args: Any) -> None:
        raise PermissionError("not yours")

    save(path, "old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fails)
        patch.setattr(os, "unlink", cannot_unlink)
        with pytest.raises(error, match="in between"):
            save(path, "new")
    assert load(path) == "old"


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_no_stray(
    step: str, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    save(path, "old")
    with monkeypatch.context() as patch:
        if step == "write":
            room = itertools.count()
            write = archive._write_all
            patch.setattr(
                archive,
                "_write_all",
                lambda file, data: write(file, data) if next(room) < 7 else full(),
            )
        else:
            patch.setattr(os, step, full)
        with pytest.raises(OSError, match=r"No space left on device.*run\.npz"):
            save(path, SMALL)
    assert load(path) == "old"
    assert names_in(path.parent) == ["run.npz"]


def test_a_write_that_takes_only_a_part_is_continued() -> None:
    class Sparing(io.BytesIO):
        def write(self, data: Any) -> int:
            return super().write(data[:7])

    file = Sparing()
    archive._write_all(file, bytes(range(100)))  # type: ignore[arg-type]
    assert file.getvalue() == bytes(range(100))


def run_python(script: str, *args: Any) -> str:
    """Run a script in a fresh process and return what it prints."""
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, args)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


@on_posix
def test_a_write_that_the_system_cuts_short_is_an_error_and_leaves_the_old_file(
    path: pathlib.Path,
) -> None:
    save(path, "old")
    script = """if True:
        import resource, sys
        import numpy as np
        from minidl.checkpoint import save
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))
        try:
            save(sys.argv[1], [np.ones(1 << 20)])
        except OSError as error:
            print(error)
        """
    assert "run.npz" in run_python(script, path)
    assert load(path) == "old"
    assert names_in(path.parent) == ["run.npz"]


def interrupt(call: Callable[[], None], line: int) -> bool:
    """Call, with Ctrl-C at the given line that is executed in the room; False if past it."""
    executed = 0

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal executed
        if pathlib.Path(frame.f_code.co_filename).parent != ROOM:
            return None
        executed += event == "line"
        if executed == line:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_ctrl_c_at_any_line_of_a_save_leaves_the_old_file_or_the_new_one(
    path: pathlib.Path,
) -> None:
    save(path, 0)
    held, news = 0, set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of the file that was being opened
        for line in itertools.count(1):
            was_interrupted = interrupt(lambda: save(path, [BASE, line]), line)  # noqa: B023
            found = load(path)
            assert found == held or same(found, [BASE, line])
            news.add(found != held)
            if not was_interrupted:
                break
            save(path, held := line)
            assert names_in(path.parent) == ["run.npz"]
    assert line > 100
    assert news == {False, True}


SAVE_FOREVER = """if True:
    import itertools, sys
    import numpy as np
    from minidl.checkpoint import load, save
    for n in itertools.count(load(sys.argv[1])["n"] + 1):
        save(sys.argv[1], {"n": n, "a": np.full(100_000, n), "b": [np.full(200_000, n), n]})
        print(n, flush=True)
    """


@on_posix
def test_kill_at_a_random_moment_leaves_a_whole_file_and_nothing_that_was_saved_is_lost(
    path: pathlib.Path,
) -> None:
    moments = random.Random(0)
    save(path, {"n": 0})
    for how in [signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGKILL]:
        with subprocess.Popen(
            [sys.executable, "-c", SAVE_FOREVER, str(path)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline()]
            time.sleep(moments.uniform(0, 0.05))
            process.send_signal(how)
            lines += process.stdout.readlines()
        promised = [int(line) for line in lines if line.endswith("\n")]
        found = load(path)
        n = found["n"]
        assert n in (promised[-1], promised[-1] + 1)
        assert same(found, {"n": n, "a": np.full(100_000, n), "b": [np.full(200_000, n), n]})
    save(path, {"n": 0})
    assert names_in(path.parent) == ["run.npz"]


# ---- Damaged and foreign files


@pytest.fixture
def small(path: pathlib.Path) -> bytes:
    save(path, SMALL)
    return path.read_bytes()


def put(path: pathlib.Path, content: bytes | bytearray) -> None:
    """Write a file anew: some file systems wait for the disk when an old one is overwritten."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def test_every_changed_byte_is_found(small: bytes, path: pathlib.Path) -> None:
    for change in [0x01, 0x80, 0xFF]:
        for position in range(len(small)):
            damaged = bytearray(small)
            damaged[position] ^= change
            put(path, damaged)
            with pytest.raises(CheckpointError, match=r"run\.npz: it "):
                load(path)


def test_every_length_but_the_right_one_is_refused(small: bytes, path: pathlib.Path) -> None:
    for length in range(len(small)):
        put(path, small[:length])
        with pytest.raises(CheckpointError, match=r"empty|cut short|not a checkpoint"):
            load(path)
    for more in [b"\0", b"garbage" * 100, small]:
        path.write_bytes(small + more)
        with pytest.raises(CheckpointError, match=f"{len(more)} bytes too many"):
            load(path)


def test_bytes_inserted_removed_or_overwritten_are_found(small: bytes, path: pathlib.Path) -> None:
    rng = random.Random(0)
    for _ in range(500):
        a, b = sorted(rng.sample(range(len(small)), 2))
        for damaged in [
            small[:a] + small[b:],
            small[:a] + small[a:b] + small[a:],
            small[:a] + bytes(b - a) + small[b:],
            small[:a] + rng.randbytes(b - a) + small[b:],
            small[a:] + small[:a],
        ]:
            if damaged != small:
                put(path, damaged)
                with pytest.raises(CheckpointError):
                    load(path)


def saved_by(writer: Callable[..., Any], *args: Any, **kwargs: Any) -> bytes:
    file = io.BytesIO()
    writer(file, *args, **kwargs)
    return file.getvalue()


def zip_of(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


NPY = saved_by(np.save, np.zeros(3))
FOREIGN = {
    "empty": (b"", "it is empty"),
    "text": (b"epoch,loss\n1,2\n" * 100, "not a checkpoint: it begins with b'epoc'"),
    "zeros": (bytes(1000), "not a checkpoint"),
    "pickle": (pickle.dumps({"a": [1] * 500}), "not a checkpoint"),
    "npy": (NPY, "not a checkpoint: it begins with b'.x93NUM'"),
    "npz": (saved_by(np.savez, a=np.zeros(99)), "minidl.save did not write; numpy.load"),
    "empty zip": (zip_of({}), "not a checkpoint"),
    "zip": (zip_of({"hello.txt": b"hello" * 100}), "minidl.save did not write"),
    "repacked": (zip_of({"description.npy": NPY}), "cut short or damaged"),
    "repacked npz": (saved_by(np.savez, description=np.zeros(99, np.uint8)), "not JSON|damaged"),
}


@pytest.mark.parametrize(("content", "message"), FOREIGN.values(), ids=FOREIGN.keys())
def test_foreign_files_are_refused(content: bytes, message: str, path: pathlib.Path) -> None:
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"run\.npz: .*{message}"):
        load(path)


def refuses_cheaply(path: pathlib.Path, message: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=message):
            load(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_compressed_bombs_are_refused_before_they_swell(path: pathlib.Path) -> None:
    bomb = saved_by(np.save, np.zeros(8 << 20, np.uint8))
    path.write_bytes(zip_of({"description.npy": bomb}, zipfile.ZIP_DEFLATED))
    refuses_cheaply(path, "damaged")
    path.write_bytes(zip_of({"array_0.npy": bomb}, zipfile.ZIP_DEFLATED))
    refuses_cheaply(path, r"minidl\.save did not write")


@pytest.mark.parametrize("claim", [1 << 20, 1 << 40, (1 << 64) - 1, 0, 127])
def test_a_description_longer_than_the_file_is_refused(
    claim: int, small: bytes, path: pathlib.Path
) -> None:
    at = 30 + len("description.npy") + 4
    path.write_bytes(small[:at] + struct.pack("<2Q", claim, claim) + small[at + 16 :])
    refuses_cheaply(path, "cut short or damaged")


@pytest.mark.parametrize(
    "shape",
    [[1 << 40], [1 << 62, 1 << 62], [1 << 20] * 64, [(1 << 63) - 1], [99_999]],
    ids=str,
)
def test_arrays_larger_than_the_file_are_refused_before_memory_is_taken(
    shape: list[int], path: pathlib.Path
) -> None:
    description = description_of({"array": 0}, [["<f8", shape, False]])
    forge(path, description, (np.zeros(3),))
    refuses_cheaply(path, "but says that its array 0 of shape")


def test_arrays_that_are_larger_than_the_file_together_are_refused(path: pathlib.Path) -> None:
    # Each would fit: the way of a bomb whose members overlap.
    arrays = [["|u1", [4000], False]] * 300
    forge(path, description_of([{"array": n} for n in range(300)], arrays))
    refuses_cheaply(path, "cut short")


def test_two_members_of_one_name_are_refused(small: bytes, path: pathlib.Path) -> None:
    assert small.count(b"array_1.npy") == 2
    path.write_bytes(small.replace(b"array_1.npy", b"array_0.npy"))
    with pytest.raises(CheckpointError, match=r"damaged: the header of array_1\.npy"):
        load(path)


ONE_ARRAY = ["<f8", [1], False]
SENSELESS = {
    "no JSON": (b"{", "not JSON"),
    "no text": (b"\xff\xfe", "not JSON"),
    "deep JSON": (b"[" * 100_000, "not JSON"),
    "too many digits": (b"1" * 10_000, "not JSON"),
    "a list": ([1], "did not write"),
    "another format": ({"format": "other", "version": 1}, "did not write"),
    "no version": (description_of(1, version=None), "version None"),
    "a newer version": (description_of(1, version=2), r"version 2, .* reads version 1 only"),
    "no arrays": ({"format": "minidl checkpoint", "version": 1, "state": 1}, "no list of arrays"),
    "no state": ({"format": "minidl checkpoint", "version": 1, "arrays": []}, "no sense"),
    "unknown kind": (description_of({"pickle": "x"}), "no sense.*unknown kind 'pickle'"),
    "two kinds": (description_of({"int": "0x1", "float": "0"}), "no sense"),
    "no kind": (description_of([{}]), "no sense"),
    "not hexadecimal": (description_of({"int": "xyz"}), "no sense"),
    "short float": (description_of({"float": "00"}), "no sense"),
    "no complex": (description_of({"complex": "0000"}), "no sense"),
    "scalar of objects": (description_of({"scalar": ["|O", "0000000000000000"]}), "no sense"),
    "scalar of a structure": (description_of({"scalar": ["u1,u1", "0000"]}), "no sense"),
    "scalar of two": (description_of({"scalar": ["|u1", "0000"]}), "no sense"),
    "scalar of none": (description_of({"scalar": ["|u1", ""]}), "no sense"),
    "array out of range": (description_of({"array": 0}), "no sense"),
    "array forgotten": (description_of(1, [ONE_ARRAY]), "where array 0 belongs"),
    "array twice": (description_of([{"array": 0}] * 2, [ONE_ARRAY]), "no sense"),
    "array of no dtype": (description_of(1, [["zz", [1], False]]), "array 0 cannot be"),
    "array of objects": (description_of(1, [["|O", [1], False]]), "array 0 cannot be"),
    "array of a structure": (description_of(1, [["f4,O", [1], False]]), "array 0 cannot be"),
    "array of no width": (description_of(1, [["<U0", [1], False]]), "array 0 cannot be"),
    "array of vast width": (description_of(1, [["|S" + "9" * 30, [1], False]]), "cannot be"),
    "array of no unit": (description_of(1, [["<M8[no]", [1], False]]), "array 0 cannot be"),
    "negative shape": (description_of(1, [["<f8", [-1, -1], False]]), "array 0 cannot be"),
    "boolean shape": (description_of(1, [["<f8", [True], False]]), "array 0 cannot be"),
    "fractional shape": (description_of(1, [["<f8", [1.0], False]]), "array 0 cannot be"),
    "65 dimensions": (description_of(1, [["<f8", [1] * 65, False]]), "array 0 cannot be"),
    "vast empty shape": (description_of(1, [["<f8", [0, 1 << 63], False]]), "array 0 cannot be"),
    "array of two words": (description_of(1, [["<f8", [1]]]), "array 0 cannot be"),
    "array of one number": (description_of(1, [7]), "array 0 cannot be"),
}


@pytest.mark.parametrize(("description", "message"), SENSELESS.values(), ids=SENSELESS.keys())
def test_senseless_descriptions_are_refused_even_with_right_checksums(
    description: Any, message: str, path: pathlib.Path
) -> None:
    has_array = isinstance(description, dict) and description.get("arrays") == [ONE_ARRAY]
    forge(path, description, (np.zeros(1),) if has_array else ())
    with pytest.raises(CheckpointError, match=rf"run\.npz: .*{message}"):
        load(path)


def test_a_description_changed_at_random_is_refused_or_read_and_nothing_else(
    path: pathlib.Path,
) -> None:
    _, (text, *arrays) = archive.packed(
        *encoded([BASE, {"a": (np.float32(1), 2**70, math.nan, 1j)}])
    )
    rng = random.Random(0)
    refused = 0
    for _ in range(1000):
        changed = bytearray(text)
        for _ in range(rng.randint(1, 3)):
            changed[rng.randrange(len(changed))] = rng.choice(b'{}[],:"0123456789-.abcdefinrstuy <')
        forge(path, bytes(changed), tuple(arrays))
        try:
            load(path)
        except CheckpointError:
            refused += 1
    assert 500 < refused < 1000


@pytest.mark.parametrize(
    ("start", "end"),
    [("[", "]"), ('{"dict":{"a":', "}}"), ('{"tuple":[', "]}")],
    ids=["lists", "dicts", "tuples"],
)
@pytest.mark.parametrize("levels", [101, 400, 2000, 100_000])
def test_a_state_deeper_than_any_that_was_saved_is_refused(
    levels: int, start: str, end: str, path: pathlib.Path
) -> None:
    def text_of(levels: int) -> bytes:
        inside = "[]".join((start * (levels - 1), end * (levels - 1)))
        return json.dumps(description_of("HERE")).replace('"HERE"', inside).encode()

    forge(path, text_of(levels - 1))
    if levels == 101:
        assert load(path)
    forge(path, text_of(levels + 1))
    with pytest.raises(CheckpointError, match=r"more than 100 levels|recursion"):
        load(path)


@pytest.mark.parametrize("item", ["[]", "{}", '{"dict":{}}', '{"tuple":[]}', '["]\\"[",[]]'])
def test_a_bomb_of_empty_containers_is_refused_before_any_is_made(
    item: str, path: pathlib.Path
) -> None:
    text = json.dumps(description_of("HERE"))
    forge(path, text.replace('"HERE"', "[" + ",".join([item] * 1_000_000) + "]").encode())
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match="more lists and dicts than"):
            load(path)
        assert tracemalloc.get_traced_memory()[1] < 7 * path.stat().st_size
    finally:
        tracemalloc.stop()


def test_a_file_that_shrinks_while_it_is_read_is_refused(small: bytes) -> None:
    with pytest.raises(CheckpointError, match=r"cut short in array_2\.npy while being read"):
        archive.read_archive(io.BufferedReader(io.BytesIO(small[:1200])), len(small))


def test_arrays_that_do_not_fit_into_memory_are_named(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(path, BASE)
    empty = np.empty

    def no_memory(shape: Any, dtype: Any, order: Any) -> np.ndarray:
        if dtype == "<f8":
            raise MemoryError("Unable to allocate")
        return empty(shape, dtype, order)

    monkeypatch.setattr(np, "empty", no_memory)
    with pytest.raises(CheckpointError, match=r"array_0\.npy does not fit into memory: Unable"):
        load(path)


def test_a_file_that_was_refused_is_left_as_it_is(path: pathlib.Path) -> None:
    path.write_bytes(b"something of mine")
    with pytest.raises(CheckpointError):
        load(path)
    assert path.read_bytes() == b"something of mine"


def test_checkpoint_errors_are_value_errors_and_survive_a_process_pool(path: pathlib.Path) -> None:
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="it is empty") as caught:
        load(path)
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is CheckpointError
    assert str(again) == str(caught.value) == f"{path}: it is empty"
