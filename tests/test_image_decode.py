"""Decoding: the colours of the published processors, and a refusal in one line for everything else."""

from __future__ import annotations

import base64
import gc
import os
import socket
import struct
import time
import warnings
import zlib
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from smartrt.errors import InputError, OptionError
from smartrt.images.decode import MAX_SCANS, decode
from smartrt.images.limits import ImageLimits
from support import message_of, run_python

WHERE = "document 3"
BOTH = pytest.mark.parametrize("transparency", ["white", "drop"])


def refused(source, *mentions: str, **options) -> str:
    """The message with which `source` is refused: one line that begins with the item."""
    with pytest.raises(InputError) as caught:
        decode(source, WHERE, **options)
    message = message_of(caught.value, *mentions)
    assert message.startswith(f"{WHERE}: ")
    assert len(message) < 500
    return message


def noise(width: int, height: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width, channels)[: 2 if channels == 1 else 3]
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def picture(mode: str = "RGB", width: int = 50, height: int = 40) -> Image.Image:
    """Noise in any mode; a mode with a palette gets one."""
    numbers = np.random.default_rng(3).integers(-300, 900, (height, width))
    if mode in ("I", "F"):
        return Image.fromarray(numbers.astype(np.int32 if mode == "I" else np.float32))
    if mode.startswith("I;16"):
        return Image.frombytes(mode, (width, height), np.abs(numbers).astype(">u2" if mode[-1] == "B" else "<u2"))
    if mode == "1":
        return Image.fromarray(noise(width, height, 1) > 127)
    data = noise(width, height, len(Image.new(mode, (1, 1)).getbands())).tobytes()
    image = Image.frombytes(mode, (width, height), data)
    if mode in ("P", "PA"):
        image.putpalette(noise(256, 1, seed=1).tobytes())
    return image


def with_transparency(mode: str, value) -> Image.Image:
    image = picture(mode)
    image.info["transparency"] = value
    return image


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *more: bytes) -> bytes:
    """A PNG that Pillow cannot write; `rows` are the bytes behind the filter byte of each row, as one string."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    step = len(rows) // height
    body = b"".join(b"\0" + rows[n * step : (n + 1) * step] for n in range(height))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def animation(kind: str) -> bytes:
    """Three frames."""
    return saved(picture(), kind, save_all=True, append_images=[picture().rotate(turn) for turn in (90, 180)])


def warned(step) -> list[str]:
    """What is warned of while `step` runs."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        step()
    return [str(warning.message) for warning in said]


def as_published(image: Image.Image, transparency: str) -> Image.Image:
    """RGBA laid on white as qwen-vl-utils does it; everything else, and without white everything, converted."""
    if image.mode == "RGBA" and transparency == "white":
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(image, mask=image.split()[3])
        return white
    with warnings.catch_warnings():  # Pillow warns about P with alphas, and converts all the same
        warnings.simplefilter("ignore")
        return image.convert("RGB")


def assert_as_published(source, image: Image.Image, transparency: str) -> None:
    ours = decode(source, WHERE, transparency)
    assert (ours.mode, ours.size) == ("RGB", image.size)
    assert ours.tobytes() == as_published(image, transparency).tobytes()


# --- colours ---

PICTURES = {
    **{
        mode: picture(mode)
        for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV", "I", "F")
    },
    **{mode: picture(mode) for mode in ("I;16", "I;16L", "I;16B", "I;16N")},
    "P and alphas": with_transparency("P", bytes(range(256))),
    "P and a colour key": with_transparency("P", 7),
    "L and a colour key": with_transparency("L", 128),
    "1 and a colour key": with_transparency("1", 255),
    "RGB and a colour key": with_transparency("RGB", (1, 2, 3)),
    "RGBA and a colour key": with_transparency("RGBA", (1, 2, 3)),
}


@BOTH
@pytest.mark.parametrize("name", PICTURES)
def test_every_mode_becomes_the_rgb_of_the_published_processors(name, transparency):
    before = (PICTURES[name].mode, PICTURES[name].tobytes(), dict(PICTURES[name].info))
    assert_as_published(PICTURES[name], PICTURES[name], transparency)
    assert (PICTURES[name].mode, PICTURES[name].tobytes(), PICTURES[name].info) == before


FILES = {
    **{f"{mode}, PNG": saved(picture(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")},
    "P and alphas, PNG": saved(picture("P"), "PNG", transparency=bytes(range(256))),
    "P and a colour key, PNG": saved(picture("P"), "PNG", transparency=7),
    "L and a colour key, PNG": saved(picture("L"), "PNG", transparency=128),
    "RGB and a colour key, PNG": saved(picture("RGB"), "PNG", transparency=(1, 2, 3)),
    "16 bits grey and alpha, PNG": png(4, 3, 16, 4, noise(4 * 4, 3, 1).tobytes()),
    "16 bits RGB, PNG": png(4, 3, 16, 2, noise(4 * 6, 3, 1).tobytes()),
    "16 bits RGBA, PNG": png(4, 3, 16, 6, noise(4 * 8, 3, 1).tobytes()),
    "16 bits and a colour key, PNG": png(4, 3, 16, 0, bytes(range(24)), chunk(b"tRNS", b"\0\1")),
    "4 bits grey, PNG": png(4, 3, 4, 0, bytes(range(6))),
    "L, JPEG": saved(picture("L"), "JPEG"),
    "RGB, JPEG": saved(picture("RGB"), "JPEG"),
    "progressive, JPEG": saved(picture("RGB"), "JPEG", progressive=True),
    "CMYK, JPEG": saved(picture("CMYK"), "JPEG"),
    "RGB, WebP": saved(picture("RGB"), "WEBP"),
    "RGBA, WebP": saved(picture("RGBA"), "WEBP", lossless=True, exact=True),
    **{f"{mode}, BMP": saved(picture(mode), "BMP") for mode in ("1", "L", "P", "RGB", "RGBA")},
}


@BOTH
@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_becomes_the_rgb_of_the_published_processors(name, transparency):
    assert_as_published(FILES[name], Image.open(BytesIO(FILES[name])), transparency)


@pytest.mark.parametrize(
    ("image", "white", "drop"),
    [
        (Image.new("RGBA", (2, 2), (10, 20, 30, 0)), (255, 255, 255), (10, 20, 30)),
        (Image.new("RGBA", (2, 2), (10, 20, 30, 255)), (10, 20, 30), (10, 20, 30)),
        (Image.new("RGBA", (2, 2), (0, 100, 255, 51)), (204, 224, 255), (0, 100, 255)),
        (Image.new("LA", (2, 2), (77, 0)), (77, 77, 77), (77, 77, 77)),
        (Image.new("CMYK", (2, 2), (0, 255, 255, 0)), (255, 0, 0), (255, 0, 0)),
    ],
    ids=["RGBA, clear", "RGBA, opaque", "RGBA, a fifth", "LA, clear", "CMYK"],
)
def test_only_rgba_is_laid_on_white(image, white, drop):
    assert decode(image, WHERE, "white").getpixel((1, 1)) == white
    assert decode(image, WHERE, "drop").getpixel((1, 1)) == drop
    assert decode(image, WHERE).getpixel((1, 1)) == white  # the default


def test_a_palette_keeps_the_colours_of_its_clear_entries():
    image = Image.new("P", (2, 1))
    image.putpalette([1, 2, 3, 4, 5, 6])
    image.putpixel((1, 0), 1)
    for transparency in (0, bytes([0, 0])):
        data = saved(image, "PNG", transparency=transparency)
        assert [*decode(data, WHERE).tobytes()] == [1, 2, 3, 4, 5, 6]


def test_grey_of_16_bits_saturates():
    values = [0, 1, 254, 255, 256, 257, 4000, 65535]
    data = png(8, 1, 16, 0, struct.pack(">8H", *values))
    assert Image.open(BytesIO(data)).mode == "I;16"
    assert [*decode(data, WHERE).getchannel("R").tobytes()] == [min(value, 255) for value in values]


@BOTH
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_image_is_not_turned_as_its_exif_says(kind, transparency):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    data = saved(picture(), kind, exif=exif)
    assert Image.open(BytesIO(data)).getexif()[0x0112] == 6
    assert_as_published(data, Image.open(BytesIO(data)), transparency)
    assert decode(data, WHERE).size == (50, 40)


@pytest.mark.parametrize("wrap", [bytes, lambda data: Image.open(BytesIO(data))], ids=["bytes", "PIL"])
def test_an_mpo_is_the_still_it_begins_with(wrap):
    first, second = picture(), Image.new("RGB", (50, 40))
    data = saved(first, "MPO", save_all=True, append_images=[second])
    assert Image.open(BytesIO(data)).n_frames == 2
    assert decode(wrap(data), WHERE).tobytes() == Image.open(BytesIO(saved(first, "JPEG"))).convert("RGB").tobytes()


# --- sources ---

PNG = FILES["RGBA, PNG"]


@pytest.mark.parametrize(
    "wrap",
    [bytes, bytearray, memoryview, lambda data: memoryview(b"-".join([bytes([byte]) for byte in data]))[::2]],
    ids=["bytes", "bytearray", "memoryview", "memoryview with gaps"],
)
def test_the_bytes_of_a_file_can_come_in_any_buffer(wrap):
    assert_as_published(wrap(PNG), Image.open(BytesIO(PNG)), "white")


@pytest.mark.parametrize("wrap", [str, Path, lambda path: Path(os.path.relpath(path))], ids=["str", "Path", "relative"])
@pytest.mark.parametrize("name", ["plain.png", "no ending", "page.jpg", "größe 写真 \U0001f4f7.png", "a%20b#c?d.png"])
def test_a_path_is_read_whatever_it_is_called(tmp_path, name, wrap):
    (tmp_path / name).write_bytes(PNG)
    assert_as_published(wrap(tmp_path / name), Image.open(BytesIO(PNG)), "white")


def test_a_link_to_a_file_is_read(tmp_path):
    (tmp_path / "file").write_bytes(PNG)
    (tmp_path / "link").symlink_to("file")
    assert_as_published(tmp_path / "link", Image.open(BytesIO(PNG)), "white")


@pytest.mark.parametrize("content", [PNG, PNG[:500], b"no image"], ids=["taken", "damaged", "no image"])
def test_a_file_is_closed_again(tmp_path, content):
    def open_files():
        return len(list(Path("/proc/self/fd").iterdir()))

    (tmp_path / "page.png").write_bytes(content)
    gc.collect()  # other tests leave memory maps behind
    before = open_files()
    with suppress(InputError):
        decode(tmp_path / "page.png", WHERE)
    assert open_files() == before


@BOTH
@pytest.mark.parametrize("channels", [1, 3, 4], ids=["[h, w]", "[h, w, 3]", "[h, w, 4]"])
@pytest.mark.parametrize(
    "change",
    [np.asarray, np.asfortranarray, lambda array: array[::-1, ::2], np.ma.asarray],
    ids=["as it is", "Fortran order", "a view", "masked"],
)
def test_an_array_is_grey_rgb_or_rgba(channels, change, transparency):
    array = change(noise(50, 40, channels))
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    image = Image.frombytes(mode, (array.shape[1], array.shape[0]), np.ascontiguousarray(array).tobytes())
    assert_as_published(array, image, transparency)


def test_what_is_returned_does_not_change_with_the_source():
    array, image = noise(50, 40), picture()
    from_array, from_image = decode(array, WHERE), decode(image, WHERE)
    before = from_array.tobytes(), from_image.tobytes()
    array[:] = 0
    image.paste((0, 0, 0), (0, 0, 50, 40))
    assert (from_array.tobytes(), from_image.tobytes()) == before


def test_a_pil_image_that_was_opened_and_not_loaded_is_loaded(tmp_path):
    (tmp_path / "page.png").write_bytes(PNG)
    with Image.open(tmp_path / "page.png") as image:
        assert_as_published(image, Image.open(BytesIO(PNG)), "white")


def test_a_pil_image_may_come_from_a_format_that_is_not_read_from_bytes():
    image = Image.open(BytesIO(saved(picture(), "TIFF")))
    assert_as_published(image, picture(), "white")


@pytest.mark.parametrize(
    "source", [None, 5, 2.5, [1, 2], {}, [[0, 0], [0, 0]], BytesIO(PNG), object(), True], ids=lambda x: type(x).__name__
)
def test_anything_else_is_refused_by_its_type(source):
    refused(source, "path", "bytes", "PIL image", "uint8 array", f"got {type(source).__name__}")


# --- limits ---


@pytest.mark.parametrize("name", ["max_bytes", "max_pixels"])
@pytest.mark.parametrize("value", [0, -1, 1.5, 1e6, float("nan"), "5", None, True, False], ids=repr)
def test_a_limit_is_a_whole_number_from_1_up(name, value):
    with pytest.raises(OptionError) as caught:
        ImageLimits(**{name: value})
    message_of(caught.value, name, repr(value))


def test_a_limit_of_1_is_taken_and_refuses():
    assert decode(np.zeros((1, 1), np.uint8), WHERE, limits=ImageLimits(max_pixels=1)).size == (1, 1)
    refused(np.zeros((1, 2), np.uint8), "2 x 1", limits=ImageLimits(max_pixels=1))
    refused(PNG, limits=ImageLimits(max_bytes=1))


def test_the_defaults_take_a_page_of_a4_at_600_dpi_and_no_more_than_40_million_pixels():
    assert 4960 * 7016 <= ImageLimits().max_pixels == 40_000_000
    assert ImageLimits().max_bytes == 64 * 1024 * 1024


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview], ids=lambda wrap: wrap.__name__)
def test_bytes_over_the_limit_are_refused_with_the_limit(wrap):
    refused(wrap(PNG), f"over {len(PNG) - 1:,} bytes (max_bytes)", limits=ImageLimits(max_bytes=len(PNG) - 1))
    decode(wrap(PNG), WHERE, limits=ImageLimits(max_bytes=len(PNG)))


def test_a_file_over_the_limit_is_refused_with_the_limit(tmp_path):
    path = tmp_path / "page.png"
    path.write_bytes(PNG)
    refused(path, "over 1,000 bytes (max_bytes)", limits=ImageLimits(max_bytes=1000))
    decode(path, WHERE, limits=ImageLimits(max_bytes=len(PNG)))


def test_a_file_far_over_the_limit_is_not_read(tmp_path):
    path = tmp_path / "page.png"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    refused(path, "over 67,108,864 bytes (max_bytes)")


@pytest.mark.parametrize("wrap", [lambda x: x, np.asarray, lambda x: saved(x, "PNG")], ids=["PIL", "array", "PNG"])
def test_pixels_over_the_limit_are_refused_with_the_size_and_both_numbers(wrap):
    source = wrap(picture())
    refused(source, "50 x 40", "2,000", "1,999", "max_pixels", limits=ImageLimits(max_pixels=1999))
    decode(source, WHERE, limits=ImageLimits(max_pixels=2000))


def claims(kind: str, width: int, height: int) -> bytes:
    """A small file whose header claims to be so large."""
    data = bytearray(saved(picture(), kind, **({"lossless": True} if kind == "WEBP" else {})))
    if kind == "PNG":
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        return bytes(data[:8]) + chunk(b"IHDR", header) + bytes(data[33:])
    if kind == "WEBP":
        data[21:25] = struct.pack("<I", (width - 1) | (height - 1) << 14)
    else:
        order, place = {"JPEG": (">HH", data.find(b"\xff\xc0") + 5), "BMP": ("<ii", 18)}[kind]
        numbers = (height, width) if kind == "JPEG" else (width, height)
        struct.pack_into(order, data, place, *numbers)
    return bytes(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
def test_a_header_that_claims_3_billion_pixels_is_refused_before_they_are_decoded(kind):
    data = claims(kind, 60_000, 60_000)
    refused(data, "60000 x 60000", "3,600,000,000", "40,000,000", "max_pixels")
    refused(data[: len(data) // 2], "60000 x 60000")  # that the pixels are missing was not found out


def test_a_webp_header_that_claims_100_million_pixels_is_refused_before_they_are_decoded():
    refused(claims("WEBP", 10_000, 10_000), "10000 x 10000", "100,000,000", "40,000,000", "max_pixels")


@pytest.mark.parametrize(
    "data",
    [
        claims("PNG", 2**31 - 1, 2**31 - 1),
        claims("PNG", 2**31 - 1, 1),
        claims("PNG", 2**32 - 1, 2**32 - 1),
        claims("WEBP", 16_383, 16_383),
        claims("BMP", 2**31 - 1, -(2**31)),
    ],
    ids=["PNG 2^31", "PNG 2^31 x 1", "PNG 2^32", "WebP", "BMP"],
)
def test_a_header_that_claims_more_than_can_be_is_refused(data):
    refused(data)


def test_what_pillow_itself_finds_too_large_is_refused_as_that():
    class Large(Image.Image):
        def load(self):
            raise Image.DecompressionBombError

    image = Large()
    image._size, image._mode = (4, 4), "RGB"
    assert "damaged" not in refused(image, "larger than Pillow decodes", "make it smaller")


@pytest.mark.parametrize("name", ["PNG", "BMP"])
def test_a_header_that_claims_no_pixels_is_refused(name):
    refused(claims(name, 0, 40))
    refused(claims(name, 50, 0))


LARGE = {kind: claims(kind, 9000, 9000) for kind in ("PNG", "JPEG", "WEBP", "BMP")}


@pytest.mark.parametrize("name", LARGE)
def test_refusing_a_header_costs_no_memory(name):
    script = (
        "import re, sys\n"
        "from pathlib import Path\n"
        "from smartrt.errors import InputError\n"
        "from smartrt.images.decode import decode\n"
        "def peak(): return int(re.search(r'VmHWM:\\s*(\\d+) kB', Path('/proc/self/status').read_text())[1])\n"
        "before = peak()\n"
        "try: decode(bytes.fromhex(sys.argv[1]), 'x')\n"
        "except InputError as error: print(peak() - before, error)\n"
    )
    ran = run_python(script, LARGE[name].hex())
    assert ran.stderr == ""
    grown, _, message = ran.stdout.partition(" ")
    assert "81,000,000 pixels" in message
    assert int(grown) < 30_000  # a byte for each pixel is 79,102


def test_text_that_unpacks_to_too_much_is_refused():
    data = saved(picture(), "PNG")
    bomb = b"k\0\0" + zlib.compress(bytes(70 << 20))
    refused(data[:33] + chunk(b"zTXt", bomb) + data[33:])
    refused(data[:-12] + chunk(b"zTXt", bomb) + data[-12:])


def empty_scan(width: int, height: int) -> bytes:
    """A scan of a progressive JPEG that changes no coefficient and visits all those of the first component."""
    table = segment(0xC4, b"\x10" + bytes([1, *[0] * 15]) + b"\xe0")  # a bit 0, and 14 more: 16,384 blocks end here
    blocks = -(-width // 8) * -(-height // 8)
    return table + segment(0xDA, b"\x01\x01\x00\x01\x3f\x10") + bytes(2 * -(-blocks // 16_384))


def with_scans(image: Image.Image, scans: int) -> bytes:
    """A progressive JPEG that has so many scans, the last ones empty."""
    data = saved(image, "JPEG", progressive=True)
    more = scans - data.count(b"\xff\xda")
    return data[:-2] + empty_scan(*image.size) * more + data[-2:]


def test_a_progressive_jpeg_may_have_as_many_scans_as_it_needs():
    data = saved(picture(), "JPEG", progressive=True)
    assert data.count(b"\xff\xda") == 10
    assert_as_published(data, Image.open(BytesIO(data)), "white")
    assert decode(with_scans(picture(), MAX_SCANS), WHERE).tobytes() == decode(data, WHERE).tobytes()


def test_a_jpeg_with_more_scans_is_refused_with_both_numbers():
    refused(with_scans(picture(), MAX_SCANS + 1), f"{MAX_SCANS + 1} scans", f"allowed are {MAX_SCANS}", "save it again")


def test_a_small_jpeg_with_thousands_of_scans_is_refused_at_once():
    data = with_scans(Image.new("RGB", (6000, 6000)), 2000)
    assert len(data) < 1 << 20
    start = time.monotonic()
    refused(data, "2,000 scans")
    assert time.monotonic() - start < 1  # to decode it takes about 25 s


# --- damage ---


def test_no_bytes_are_refused(tmp_path):
    (tmp_path / "empty").touch()
    for source in (b"", bytearray(), memoryview(b""), tmp_path / "empty"):
        refused(source, "has no bytes")


STILLS = {kind: saved(picture(), kind) for kind in ("PNG", "JPEG", "WEBP", "BMP")}


@pytest.mark.parametrize("kind", STILLS)
def test_a_file_that_is_cut_off_is_refused_wherever_it_is_cut(kind):
    data = STILLS[kind]
    for share in (0.1, 0.3, 0.5, 0.8, 0.95):
        refused(data[: int(len(data) * share)], "damaged", "save it again")
    for length in range(1, 60):
        refused(data[:length])


@pytest.mark.parametrize("kind", STILLS)
def test_a_header_with_nothing_behind_it_is_refused(kind):
    magic = {"PNG": 8, "JPEG": 3, "WEBP": 12, "BMP": 2}[kind]
    refused(STILLS[kind][:magic], "damaged")
    refused(STILLS[kind][:magic] + bytes(1000), "damaged")


def test_a_damaged_pil_image_is_refused():
    refused(Image.open(BytesIO(STILLS["PNG"][:3000])), "damaged", "save it again")


def test_whatever_pillow_says_of_the_damage_becomes_one_short_line():
    class Damaged(Image.Image):
        def load(self):
            raise OSError("first line\n\tsecond line\u2028third line " + "x" * 1000)

    image = Damaged()
    image._size, image._mode = (4, 4), "RGB"
    refused(image, "damaged (first line second line third line xxx", "save it again")


def test_a_pil_image_that_was_closed_is_refused():
    image = Image.open(BytesIO(PNG))
    image.close()
    refused(image)


@given(
    magic=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"RIFF\0\1\0\0WEBPVP8 "]),
    rest=st.binary(max_size=300),
)
def test_whatever_follows_a_magic_number_is_an_image_or_refused(magic, rest):
    try:
        assert decode(magic + rest, WHERE).mode == "RGB"
    except InputError as error:
        message_of(error, f"{WHERE}: ")


def jpeg_with(*segments: bytes) -> bytes:
    """Those segments behind the start, and no JFIF header, as phones write it."""
    data = saved(picture(), "JPEG")
    return data[:2] + b"".join(segments) + data[20:]


TIFF_ENTRY = b"II*\0\x08\0\0\0\x01\0"
ODD = {
    "EXIF that is cut off": jpeg_with(segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\x05\0\x1a\x01\x05\0\x01\0\0\0")),
    "EXIF that points outside": jpeg_with(
        segment(0xE1, b"Exif\0\0" + TIFF_ENTRY + b"\x12\x01\x05\0\xff\0\0\0\xff\xff\0\0\0\0\0\0")
    ),
    "a broken MPO header": jpeg_with(
        segment(0xE2, b"MPF\0" + TIFF_ENTRY + b"\x01\xb0\x03\0\x01\0\0\0\x02\0\0\0\0\0\0\0")
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_a_flaw_beside_the_pixels_neither_refuses_the_image_nor_warns(name):
    assert warned(lambda: Image.open(BytesIO(ODD[name])).load()) != []
    assert warned(lambda: decode(ODD[name], WHERE)) == []
    assert decode(ODD[name], WHERE).tobytes() == decode(STILLS["JPEG"], WHERE).tobytes()


def with_acTL(frames: int, times: int, at: int) -> bytes:  # noqa: N802  (the name of the chunk)
    return STILLS["PNG"][:at] + chunk(b"acTL", struct.pack(">II", frames, 0)) * times + STILLS["PNG"][at:]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("frames", [0, 1, 2, 2**32 - 1])
def test_a_png_that_says_before_its_pixels_it_is_an_animation_is_refused_without_a_warning(frames, times):
    data = with_acTL(frames, times, 33)
    assert warned(lambda: refused(data, "several frames", "give one of them")) == []


@pytest.mark.parametrize(("frames", "times"), [(0, 1), (2**32 - 1, 1), (2, 2)])
def test_a_png_that_says_so_behind_its_pixels_does_not_warn(frames, times):
    def taken_or_refused():
        with suppress(InputError):  # either will do
            decode(with_acTL(frames, times, -12), WHERE)

    assert warned(taken_or_refused) == []


@pytest.mark.parametrize("where", ["comment", "behind the end"])
def test_bytes_that_look_like_scans_and_are_none_are_no_reason_to_refuse(where):
    data, noise = saved(picture(), "JPEG"), b"\xff\xda" * 500
    comment = b"\xff\xfe" + (len(noise) + 2).to_bytes(2, "big") + noise
    changed = data[:2] + comment + data[2:] if where == "comment" else data + noise
    assert decode(changed, WHERE).tobytes() == decode(data, WHERE).tobytes()


# --- what is no still of a known format ---


@pytest.mark.parametrize(("kind", "frames"), [("PNG", "several frames"), ("WEBP", "3 frames")])
def test_an_animation_is_refused(kind, frames):
    refused(animation(kind), frames, "give one of them", "animations are not supported")


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animation_that_pillow_opened_is_refused_with_its_frames(kind):
    refused(Image.open(BytesIO(animation(kind))), "3 frames", "give one of them", "animations are not supported")


def test_one_frame_of_an_animation_can_be_given():
    with Image.open(BytesIO(animation("GIF"))) as image:
        image.seek(1)
        frame = image.copy()
    assert_as_published(frame, frame, "white")


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animation_of_one_frame_is_a_still(kind):
    """Pillow writes no acTL into such a PNG; one that has it is refused above."""
    assert decode(saved(picture(), kind, save_all=True), WHERE).size == (50, 40)


@pytest.mark.parametrize(
    "data",
    [
        b"<?xml version='1.0'?><!DOCTYPE svg [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><svg>&x;</svg>",
        b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< >>\nendobj\n",
        b"<!doctype html><html><body><img src='http://127.0.0.1/'></body></html>",
        saved(picture(), "EPS"),
        saved(picture(), "TIFF"),
        saved(picture(), "ICO"),
        saved(picture(), "PPM"),
        saved(picture(), "TGA"),
        saved(picture(), "GIF"),
        animation("GIF"),
        b"GIF87a",
        np.random.default_rng(8).bytes(1000),
        bytes(1000),
        b"\n" + PNG,
        base64.b64encode(PNG),
        b"/path/to/page.png",
    ],
    ids=[
        *[
            "SVG-entity",
            "SVG",
            "PDF",
            "HTML",
            "EPS",
            "TIFF",
            "ICO",
            "PPM",
            "TGA",
            "GIF",
            "animated GIF",
            "the magic of a GIF",
            "random",
            "zeros",
            "shifted",
            "base64",
            "path",
        ]
    ],
)
def test_a_format_that_is_not_known_is_refused_with_those_that_are(data):
    assert "GIF" not in refused(data, "not an image in a known format (PNG, JPEG, WebP, BMP)").partition("begins")[0]


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0, 0), (0, 4, 3), (4, 0, 4)], ids=str)
def test_an_array_without_pixels_is_refused(shape):
    refused(np.zeros(shape, np.uint8), "no pixels")


@pytest.mark.parametrize("size", [(0, 0), (0, 4), (4, 0)], ids=str)
def test_a_pil_image_without_pixels_is_refused(size):
    refused(Image.new("RGB", size), "no pixels")


@pytest.mark.parametrize("shape", [(), (5,), (4, 4, 1), (4, 4, 2), (4, 4, 5), (3, 8, 8), (1, 4, 4, 3)], ids=str)
def test_an_array_of_another_shape_is_refused_with_the_shape(shape):
    refused(np.zeros(shape, np.uint8), "uint8 [h, w], [h, w, 3] or [h, w, 4]", f"got uint8 {list(shape)}")


@pytest.mark.parametrize(
    "dtype", [bool, np.int8, np.uint16, np.int64, np.float16, np.float32, np.float64, complex, object, "S1"], ids=str
)
def test_an_array_of_another_dtype_is_refused_with_the_dtype(dtype):
    refused(np.zeros((4, 4, 3), dtype), "uint8", str(np.dtype(dtype)))


# --- places ---


@pytest.fixture
def no_network(monkeypatch):
    def reach(*_, **__):
        raise AssertionError("something was fetched")

    monkeypatch.setattr(socket, "socket", reach)
    monkeypatch.setattr(socket, "create_connection", reach)
    monkeypatch.setattr(socket, "getaddrinfo", reach)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/page.png",
        "https://example.com/page.png?size=9",
        "HTTP://EXAMPLE.COM/",
        "ftp://example.com/page.png",
        Path("http://example.com/page.png"),
        "http://" + "x" * 9000,
    ],
    ids=lambda url: f"{type(url).__name__} {str(url)[:20]}",
)
def test_nothing_is_fetched(url):
    refused(url, "is a URL", "nothing is fetched", "give a path or the bytes")


def test_a_file_url_is_refused_although_the_file_is_there(tmp_path):
    (tmp_path / "page.png").write_bytes(PNG)
    refused((tmp_path / "page.png").as_uri(), "is a URL", "give a path")


def test_a_data_url_is_refused_in_a_short_line():
    refused("data:image/png;base64," + base64.b64encode(PNG).decode(), "is a URL", "the bytes")


def test_a_file_whose_name_only_looks_like_a_url_is_read_from_its_directory(tmp_path, monkeypatch):
    (tmp_path / "data:page.png").write_bytes(PNG)
    monkeypatch.chdir(tmp_path)
    assert decode("./data:page.png", WHERE).size == (50, 40)


def test_a_missing_file_is_refused_with_its_name(tmp_path):
    refused(tmp_path / "missing.png", str(tmp_path / "missing.png"))
    refused(tmp_path / "missing" / "page.png", "page.png")
    (tmp_path / "link").symlink_to("nowhere")
    refused(tmp_path / "link", "link")
    refused("", "no image file")


def test_a_directory_is_refused(tmp_path):
    refused(tmp_path, str(tmp_path))
    refused(".", "no image file")


def test_a_pipe_or_a_device_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "pipe")
    refused("/dev/zero", "/dev/zero")
    refused("/dev/stdin")


@pytest.mark.parametrize(
    "name",
    ["a\0b.png", "\0", "line\nbreak.png", "para\u2029graph.png", "\udcff.png", "x" * 300, "d/" * 1500, "d/" * 3000],
    ids=ascii,
)
def test_a_name_that_no_file_can_have_or_has_is_refused_in_one_line(name):
    refused(name)


def test_a_file_that_cannot_be_read_is_refused_with_the_reason(tmp_path, monkeypatch):
    def deny(*_, **__):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "page.png").write_bytes(PNG)
    monkeypatch.setattr(Path, "open", deny)
    refused(tmp_path / "page.png", "page.png", "Permission denied")


def test_a_mode_that_has_no_conversion_is_refused():
    refused(picture("La"), "La")
