"""Decoding an image that somebody else made.

Nothing is decoded before the number of bytes, the format, the size in the header and the number of frames
were checked. The plugin is chosen by the first bytes and called directly: `Image.open` would try every
format Pillow knows, and warn about large images instead of refusing them. Nothing is ever fetched.

Colours follow the published processors: no EXIF rotation, 16-bit greys saturate, and transparency is
either laid on white (RGBA only; `qwen_vl_utils.vision_process.to_rgb`) or dropped (`Image.convert`).
"""

from __future__ import annotations

import os
import re
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from PIL import BmpImagePlugin, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from ..errors import InputError
from .limits import ImageLimits

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

Transparency = Literal["white", "drop"]
T = TypeVar("T")

FORMATS = "PNG, JPEG, WebP, BMP"
MAX_SCANS = 100
"""A progressive JPEG of a camera has about ten; each costs a pass over the whole image, and an empty one 61 bytes."""

_SCAN = b"\xff\xda"
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # not a stuffed byte, a restart or a fill byte
_URL_SCHEMES = ("http:", "https:", "file:", "ftp:", "data:")


def decode(source: Any, where: str, transparency: Transparency = "white", limits: ImageLimits | None = None) -> Any:
    """Decode one image to RGB.

    Args:
        source: A path, the bytes of a file, a PIL image, or a uint8 array ``[h, w]``, ``[h, w, 3]`` (RGB) or
            ``[h, w, 4]`` (RGBA).
        where: Which item it belongs to, for the message.
        transparency: ``white`` lays RGBA on white, ``drop`` ignores alpha.
        limits: See `ImageLimits`.

    Returns:
        A PIL image of mode RGB.

    Raises:
        InputError: It is no image of a known format, or is damaged, animated or too large.
    """
    allowed = limits or ImageLimits()
    if isinstance(source, np.ndarray):
        return _to_rgb(_from_array(source, where, allowed), transparency)
    image = source if isinstance(source, Image.Image) else _open(_read(source, where, allowed), where)
    _check_size(image.size, where, allowed)
    frames = 1 if image.format == "MPO" else _decoded(lambda: int(getattr(image, "n_frames", 1)), where)
    if frames != 1:
        raise InputError(f"{where}: the image has {frames} frames: give one of them, animations are not supported")
    _decoded(image.load, where)
    return _decoded(lambda: _to_rgb(image, transparency), where)


class _Jpeg(JpegImagePlugin.JpegImageFile):
    """A JPEG whose EXIF is never parsed: it decides no pixel, and Pillow warns about every flaw in it."""

    def getexif(self) -> Image.Exif:
        return Image.Exif()


def _decoded(step: Callable[[], T], where: str) -> T:
    """What `step` returns, or one line for whatever Pillow raises."""
    try:
        return step()
    except Image.DecompressionBombError:
        raise InputError(f"{where}: the image is larger than Pillow decodes: make it smaller") from None
    except Exception as error:  # noqa: BLE001  (Pillow raises a dozen kinds for damaged files)
        raise InputError(f"{where}: the image is damaged ({_reason(error)}): save it again") from None


def _read(source: Any, where: str, limits: ImageLimits) -> bytes:
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
    elif isinstance(source, str | os.PathLike):
        data = _read_file(os.fspath(source), where, limits)
    else:
        raise InputError(
            f"{where}: an image is a path, bytes, a PIL image or a uint8 array, got {type(source).__name__}"
        )
    if not data:
        raise InputError(f"{where}: the image has no bytes")
    if len(data) > limits.max_bytes:
        raise InputError(f"{where}: the image has over {limits.max_bytes:,} bytes (max_bytes): make it smaller")
    return data


def _read_file(name: Any, where: str, limits: ImageLimits) -> bytes:
    if str(name).lower().startswith(_URL_SCHEMES):
        raise InputError(f"{where}: {str(name)[:60]!r} is a URL: nothing is fetched, give a path or the bytes")
    path = Path(os.fsdecode(name))
    try:
        if not path.is_file():  # a pipe or a device would be read for ever
            raise InputError(f"{where}: there is no image file {str(path)!r:.200}")
        with path.open("rb") as file:
            return file.read(limits.max_bytes + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where}: cannot read {str(path)!r:.200}: {_reason(error)}") from None


def _open(data: bytes, where: str) -> Any:
    opener = _opener(data)
    if opener is None:
        raise InputError(f"{where}: not an image in a known format ({FORMATS}); it begins with {data[:8]!r}")
    if opener is _Jpeg and (scans := _count_scans(data)) > MAX_SCANS:
        raise InputError(f"{where}: the JPEG has {scans:,} scans, allowed are {MAX_SCANS}: save it again")
    if opener is PngImagePlugin.PngImageFile and _is_animated_png(data):
        raise InputError(f"{where}: the PNG has several frames: give one of them, animations are not supported")
    return _decoded(lambda: opener(BytesIO(data)), where)


def _opener(data: bytes) -> Callable[[BytesIO], Any] | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WebPImagePlugin.WebPImageFile
    known: dict[bytes, Callable[[BytesIO], Any]] = {
        b"\x89PNG": PngImagePlugin.PngImageFile,
        b"\xff\xd8\xff": _Jpeg,
        b"BM": BmpImagePlugin.BmpImageFile,
    }
    return next((opener for magic, opener in known.items() if data.startswith(magic)), None)


def _is_animated_png(data: bytes) -> bool:
    """Whether there is an animation control chunk. Pillow warns about those it finds flawed, wherever they stand."""
    if b"acTL" not in data:
        return False
    at = 8
    while at + 8 <= len(data):
        if data[at + 4 : at + 8] == b"acTL":
            return True
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return False


def _count_scans(data: bytes) -> int:
    """Scans of a JPEG up to its end marker; bytes that look like one in a comment or behind the end do not count."""
    if data.count(_SCAN) <= MAX_SCANS:
        return 0
    scans, at = 0, 2
    while (marker := _MARKER.search(data, at)) is not None and marker[0] != b"\xff\xd9":
        scans += marker[0] == _SCAN
        at = marker.end()
        at += int.from_bytes(data[at : at + 2], "big")
    return scans


def _from_array(array: NDArray[Any], where: str, limits: ImageLimits) -> Any:
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise InputError(
            f"{where}: an image array is uint8 [h, w], [h, w, 3] or [h, w, 4], got {array.dtype} {list(array.shape)}"
        )
    _check_size(array.shape[1::-1], where, limits)
    return Image.fromarray(np.ascontiguousarray(array))


def _check_size(size: tuple[int, ...], where: str, limits: ImageLimits) -> None:
    if len(size) != 2 or min(size) < 1:
        raise InputError(f"{where}: the image has no pixels (width and height are {list(size)})")
    if size[0] * size[1] > limits.max_pixels:
        raise InputError(
            f"{where}: the image is {size[0]} x {size[1]}, {size[0] * size[1]:,} pixels; allowed are "
            f"{limits.max_pixels:,} (max_pixels)"
        )


def _to_rgb(image: Any, transparency: Transparency) -> Any:
    if image.mode == "RGBA" and transparency == "white":
        canvas = Image.new("RGB", image.size, (255, 255, 255))
        canvas.paste(image, mask=image.getchannel("A"))
        return canvas
    if "transparency" in image.info:  # it changes no pixel of the conversion, and Pillow warns about it
        image = image.copy()
        del image.info["transparency"]
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
