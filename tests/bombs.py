"""Small files that would fill a memory, made in an instant, and who must refuse them.

Run as a script in a folder that `write` filled, it tries every one of them with one
gigabyte to spare and prints a line for each.
"""

import json
import os
import struct
import sys
import zlib
from pathlib import Path

MB = 1 << 20
SPLITS = ("train", "val", "test")


def zeros(size: int) -> bytes:
    """Zeros as a deflate stream: one megabyte packed once, again and again."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    one = packer.compress(bytes(MB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return one * (size // MB) + packer.flush()


def raw_zip(*members: tuple[str, bytes, int], comment: bytes = b"") -> bytes:
    """A zip of names, deflate streams and the sizes that it says they unpack to."""
    local, central = b"", b""
    for name, packed, size in members:
        known = name.encode()
        head = struct.pack("<4HIIIHH", 20, 0, 8, 0, 0, len(packed), size, len(known), 0)
        head = head[:8] + struct.pack("<H", 0) + head[8:]
        start = len(local)
        local += b"PK\3\4" + head + known + packed
        central += b"PK\1\2" + struct.pack("<H", 20) + head
        central += struct.pack("<HHHII", 0, 0, 0, 0, start) + known
    count = min(len(members), 0xFFFF)
    end = struct.pack(
        "<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(central), len(local), 0
    )
    return local + central + end


def npy(shape: tuple[int, ...], kind: str = "<f4") -> bytes:
    """The header of an array, whose values are to follow."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode()


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)


def array(shape: tuple[int, ...], size: int, kind: str = "<f4") -> tuple[bytes, int]:
    """A member of zeros that says to have a shape, and its size."""
    head = npy(shape, kind)
    return deflated(head) + zeros(size), len(head) + size


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"\x78\x9c" + zeros((3 * width + 1) * height + MB) + bytes(4)
    parts = ((b"IHDR", head), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def nifti(shape: tuple[int, int, int], offset: float = 352.0) -> bytes:
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, 3, *shape, 1, 1, 1, 1)
    struct.pack_into("<2h", head, 70, 64, 64)
    struct.pack_into("<8f", head, 76, *[1.0] * 8)
    struct.pack_into("<f", head, 108, offset)
    head[344:348] = b"n+1\0"
    head[348] = int(offset > 352)
    return bytes(head)


def gz(data: bytes, after: int) -> bytes:
    body = deflated(data) + zeros(after)
    return b"\x1f\x8b\x08" + bytes(7) + body + bytes(8)


def dicom(size: int) -> bytes:
    """A deflated file, all of which its reader would unpack at once."""
    uid = b"1.2.840.10008.1.2.1.99"
    meta = b"\2\0\x10\0UI" + struct.pack("<H", len(uid)) + uid
    head = b"\2\0\0\0UL" + struct.pack("<HI", 4, len(meta)) + meta
    return bytes(128) + b"DICM" + head + zeros(size)


def write(top: Path) -> None:
    """All of them; none is larger than a few megabytes on the disk."""
    gigabytes = zeros(3000 * MB)
    unused = [(f"unused{i}.npy", gigabytes, 3000 * MB) for i in range(2)]
    (top / "unused.npz").write_bytes(raw_zip(*unused))
    names = ("images", "logits", "raw_lr", "mean", "std", "class_names")
    names += ("pixels", "affine", "rates", "standard", "expected", "about")
    said = [(f"{name}.npy", *array((400 * MB,), 1600 * MB)) for name in names]
    (top / "arrays.npz").write_bytes(raw_zip(*said))
    short = [(f"{name}.npy", *array((1 << 40,), MB)) for name in names]
    (top / "short.npz").write_bytes(raw_zip(*short))
    few = [
        (f"{name}.npy", *array((200 * MB, 1, 1, 1), 200 * MB, "|u1")) for name in names
    ]
    (top / "kinds.npz").write_bytes(raw_zip(few[0]))
    places = [f"{split}/{name}" for split in SPLITS for name in ("normal", "sick")]
    lies = [(f"{place}/a.png", zeros(100 * MB), 10) for place in places]
    (top / "lies.zip").write_bytes(raw_zip(*lies))
    (top / "large.png").write_bytes(png(10_000, 10_000))
    with open(top / "sparse.png", "wb") as file:
        file.truncate(4000 * MB)
    for place in places:
        for kind in ("large", "sparse"):
            (top / kind / place).mkdir(parents=True)
            os.link(top / f"{kind}.png", top / kind / place / "film.png")
    many = b"PK\1\2" + bytes(42)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 9, 9, 46 * 1_000_000, 0, 0)
    (top / "members.zip").write_bytes(many * 1_000_000 + end)
    (top / "deep.json").write_text("[" * 200_000 + "]" * 200_000)
    (top / "nested.json").write_text('{"a":' * 300 + "1" + "}" * 300)
    (top / "wide.json").write_text("[" + "[]," * 8_000_000 + "[]]")
    (top / "digits.json").write_text('{"level": 1' + "0" * 100_000 + "}")
    (top / "huge.nii.gz").write_bytes(gz(nifti((1000, 1000, 3000)), 100 * MB))
    (top / "offset.nii.gz").write_bytes(gz(nifti((4, 4, 4), 2e9), 2000 * MB))
    (top / "deflated.dcm").write_bytes(dicom(3000 * MB))
    (top / "header.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    os.symlink("/dev/zero", top / "zero.png")
    os.mkfifo(top / "pipe.npz")


def trials() -> dict:
    """By name: the file, and who reads it."""
    from jaxdistill import data
    from jaxdistill.data.images import read_image
    from jaxdistill.data.volumes import read_volume
    from jaxdistill.foreign import read_json, read_npz, read_tensors
    from jaxdistill.jobs.judging.synthetic import load_synthetic
    from jaxdistill.jobs.segment.models import load_model
    from jaxdistill.jobs.ship.regenerate import load_parcel
    from jaxdistill.jobs.study.predict import read_study

    def mnist(file: Path):
        (file.parent / "mnist.npz").unlink(missing_ok=True)
        os.symlink(file, file.parent / "mnist.npz")
        return data.mnist(root=str(file.parent))

    npz = (load_synthetic, load_parcel, mnist, read_npz)
    archives = ("unused", "arrays", "short", "kinds", "pipe")
    made = {f"{name}.npz": npz for name in archives}
    made |= {f"{name}.zip": (data.folder,) for name in ("lies", "members")}
    made |= {
        f"{name}.json": (read_study, read_json)
        for name in ("deep", "nested", "wide", "digits")
    }
    made |= {f"{name}.nii.gz": (read_volume,) for name in ("huge", "offset")}
    made |= {
        "large": (data.folder,),
        "sparse": (data.folder,),
        "deflated.dcm": (read_image,),
    }
    made |= {
        "header.safetensors": (load_model, read_tensors),
        "zero.png": (read_image,),
    }
    return {
        f"{file} by {reader.__name__}": (Path(file).absolute(), reader)
        for file, readers in made.items()
        for reader in readers
    }


def spare() -> int:
    """Bytes of address space in use, and a gigabyte."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE") + (1 << 30)


def main() -> None:
    import resource

    found = trials()
    limit = spare()
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for name, (file, reader) in found.items():
        try:
            reader(file)
            told = "accepted"
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
        print(json.dumps([name, told]), flush=True)


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    main()
