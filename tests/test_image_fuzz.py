"""Damaged files: whatever is done to one, it becomes an RGB image within the limits or is refused in one line."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections import defaultdict
from collections.abc import Callable
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from smartrt.errors import InputError
from smartrt.images.decode import decode
from smartrt.images.limits import ImageLimits
from support import message_of

MUTATIONS = 2000
WHERE = "query 2"
LIMITS = ImageLimits(max_bytes=1 << 20, max_pixels=1 << 18)
Pieces = list[bytes]


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def smooth(mode: str) -> Image.Image:
    y, x = np.mgrid[:33, :47]
    return Image.fromarray(np.stack([x * 5, y * 7, x + y, x * y % 256], axis=2).astype(np.uint8)).convert(mode)


def with_exif() -> Image.Exif:
    exif = Image.Exif()
    exif.update({0x0112: 6, 0x010E: "a picture", 0x011A: 72.0, 0x0132: "2024:05:21 00:00:00"})
    return exif


def seeds() -> dict[str, list[bytes]]:
    """Small files of many kinds; the metadata is there to be damaged too."""
    exif, more = with_exif(), [smooth("RGB").rotate(180)]
    paletted = smooth("RGB").quantize(16)
    return {
        "PNG": [
            saved(smooth("RGB"), "PNG", exif=exif, dpi=(72, 72)),
            saved(smooth("RGBA"), "PNG"),
            saved(smooth("LA"), "PNG", icc_profile=bytes(200)),
            saved(paletted, "PNG", transparency=bytes(range(16))),
            saved(smooth("1"), "PNG", transparency=0),
            saved(smooth("RGB"), "PNG", save_all=True, append_images=more),
        ],
        "JPEG": [
            saved(smooth("RGB"), "JPEG"),
            saved(smooth("RGB"), "JPEG", exif=exif)[:2] + saved(smooth("RGB"), "JPEG", exif=exif)[20:],  # no JFIF
            saved(smooth("RGB"), "JPEG", progressive=True, comment=b"a picture"),
            saved(smooth("L"), "JPEG", icc_profile=bytes(200)),
            saved(smooth("RGB").convert("CMYK"), "JPEG"),
            saved(smooth("RGB"), "MPO", save_all=True, append_images=more),
        ],
        "WEBP": [
            saved(smooth("RGB"), "WEBP"),
            saved(smooth("RGB"), "WEBP", lossless=True, exif=exif),
            saved(smooth("RGBA"), "WEBP", icc_profile=bytes(200)),
            saved(smooth("RGB"), "WEBP", save_all=True, append_images=more),
        ],
        "BMP": [saved(smooth("RGB"), "BMP"), saved(paletted, "BMP"), saved(smooth("1"), "BMP")],
    }


# --- taking a file apart and putting it together again ---


def png_pieces(data: bytes) -> Pieces:
    """The signature, then each chunk."""
    ends = [0, 8]
    while ends[-1] < len(data):
        ends.append(ends[-1] + 12 + struct.unpack_from(">I", data, ends[-1])[0])
    return [data[a:b] for a, b in pairwise(ends)]


def png_mended(pieces: Pieces) -> Pieces:
    """Lengths and checksums set right, so that damage reaches what is behind them."""

    def mended(piece: bytes) -> bytes:
        name, body = piece[4:8].ljust(4, b"x"), piece[8:-4]
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    return [b"\x89PNG\r\n\x1a\n", *map(mended, pieces[1:])]


def jpeg_pieces(data: bytes) -> Pieces:
    """The start, each segment, and from the first scan on all in one."""
    ends = [0, 2]
    while data[ends[-1] + 1] != 0xDA:
        ends.append(ends[-1] + 2 + struct.unpack_from(">H", data, ends[-1] + 2)[0])
    return [data[a:b] for a, b in pairwise([*ends, len(data)])]


def jpeg_mended(pieces: Pieces) -> Pieces:
    def mended(piece: bytes) -> bytes:
        return b"\xff" + piece[1:2] + struct.pack(">H", len(piece) - 2) + piece[4:]

    return [b"\xff\xd8", *[mended(piece) if len(piece) >= 4 else piece for piece in pieces[1:-1]], *pieces[-1:]]


def riff_pieces(data: bytes) -> Pieces:
    ends = [0, 12]
    while ends[-1] < len(data):
        size = struct.unpack_from("<I", data, ends[-1] + 4)[0]
        ends.append(ends[-1] + 8 + size + size % 2)
    return [data[a:b] for a, b in pairwise(ends)]


def riff_mended(pieces: Pieces) -> Pieces:
    def mended(piece: bytes) -> bytes:
        body = piece[8:]
        padded = len(body) > 0 and len(body) % 2 == 0 and piece[4:8] == struct.pack("<I", len(body) - 1)
        body = body[:-1] if padded else body
        return piece[:4].ljust(4, b"x") + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)

    chunks = [mended(piece) for piece in pieces[1:]]
    return [b"RIFF" + struct.pack("<I", 4 + sum(map(len, chunks))) + b"WEBP", *chunks]


def even_pieces(data: bytes) -> Pieces:
    """For BMP, which has no chunks: its headers, and the rest by 64 bytes."""
    return [data[:14], data[14:54], *[data[at : at + 64] for at in range(54, len(data), 64)]]


TAKE_APART: dict[str, tuple[Callable[[bytes], Pieces], Callable[[Pieces], Pieces]]] = {
    "PNG": (png_pieces, png_mended),
    "JPEG": (jpeg_pieces, jpeg_mended),
    "WEBP": (riff_pieces, riff_mended),
    "BMP": (even_pieces, list),
}


# --- mutations ---


def flip_bits(rng: np.random.Generator, data: bytes) -> bytes:
    changed = bytearray(data)
    for at in rng.integers(0, max(len(data), 1), rng.integers(1, 9)):
        changed[at : at + 1] = bytes(byte ^ 1 << int(rng.integers(8)) for byte in changed[at : at + 1])
    return bytes(changed)


def set_bytes(rng: np.random.Generator, data: bytes) -> bytes:
    """The numbers that overflow, where a length or an offset may be."""
    at = int(rng.integers(0, max(len(data), 1)))
    value = [b"\0", b"\xff", b"\x7f\xff", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x80\0\0\0"][rng.integers(6)]
    return data[:at] + value + data[at + len(value) :]


def insert_bytes(rng: np.random.Generator, data: bytes) -> bytes:
    at = int(rng.integers(0, len(data) + 1))
    return data[:at] + rng.bytes(int(rng.integers(1, 40))) + data[at:]


def cut_off(rng: np.random.Generator, data: bytes) -> bytes:
    return data[: int(rng.integers(0, max(len(data), 1)))]


IN_A_PIECE = (flip_bits, set_bytes, insert_bytes, cut_off)


def mutated(rng: np.random.Generator, kind: str, data: bytes) -> bytes:
    """One to three changes: to all of the file, inside a chunk, or to the order of the chunks."""
    take_apart, mend = TAKE_APART[kind]
    pieces = take_apart(data)
    for _ in range(rng.integers(1, 4)):
        at, other = (int(rng.integers(0, len(pieces))) for _ in range(2))
        match rng.integers(8):
            case 0:
                pieces.insert(other, pieces[at])
            case 1:
                pieces[at], pieces[other] = pieces[other], pieces[at]
            case 2 if len(pieces) > 1:
                del pieces[at]
            case 3:
                whole = b"".join(pieces)
                return IN_A_PIECE[rng.integers(len(IN_A_PIECE))](rng, whole)
            case _:
                pieces[at] = IN_A_PIECE[rng.integers(len(IN_A_PIECE))](rng, pieces[at])
    return b"".join(mend(pieces) if rng.integers(3) else pieces)


def outcome(data: bytes, transparency: str) -> str:
    """``taken``, ``refused``, or what went wrong."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")  # `decode` would take one that is an error for damage
        try:
            image = decode(data, WHERE, transparency, LIMITS)
        except InputError as error:
            message_of(error, f"{WHERE}: ")
            what = "refused"
        except Exception as error:  # noqa: BLE001  (that there is none is what is tested)
            return repr(error)
        else:
            assert image.mode == "RGB"
            assert 0 < image.width * image.height <= LIMITS.max_pixels
            assert len(image.tobytes()) == image.width * image.height * 3
            what = "taken"
    return f"{what} with a warning: {said[0].message}" if said else what


@pytest.mark.parametrize("kind", TAKE_APART)
def test_the_files_are_taken_apart_and_put_together_as_they_were(kind):
    """Else the test below would only show that nonsense is refused."""
    take_apart, mend = TAKE_APART[kind]
    for data in seeds()[kind]:
        assert len(take_apart(data)) >= 2
        assert b"".join(take_apart(data)) == data
        assert b"".join(mend(take_apart(data))) == data


@pytest.mark.parametrize("kind", TAKE_APART)
def test_a_damaged_file_is_an_image_or_refused_and_nothing_else(kind):
    rng = np.random.default_rng(list(kind.encode()))
    files = seeds()[kind]
    outcomes: dict[str, list[int]] = defaultdict(list)
    for n in range(MUTATIONS):
        data = mutated(rng, kind, files[n % len(files)])
        outcomes[outcome(data, ("white", "drop")[n % 2])].append(n)
    taken, refused = outcomes.pop("taken"), outcomes.pop("refused")
    assert dict(outcomes) == {}  # else which mutations did what
    assert min(len(taken), len(refused)) > MUTATIONS // 20, "the damage is so small or so large that it shows nothing"
