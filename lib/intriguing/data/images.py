"""One encoded image file to uint8 pixels, and many of them to one array."""

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from intriguing.data import bounds
from intriguing.data.arrays import Decoded, check_labels
from intriguing.errors import UserError

# Pillow opens some fifty kinds, a few of which start other programs
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
DEEP_MODES = ("I", "F")  # more than 8 bits a channel: Pillow would clip, not scale
GROUND = "white"  # behind what is transparent, as browsers and picture viewers show it


def decode(content: bytes, member: str, size: int | None = None) -> np.ndarray:
    """Decode one image; (1, H, W) if it is grey, else (3, H, W), uint8.

    Grey is what is stored as grey, with or without transparency, and a palette of greys.  What is
    transparent shows GROUND.

    Parameters
    ----------
    content : the bytes of a file of one of the FORMATS; the first frame counts.
    member : its name, for errors.
    size : crop to a centred square and resize (bicubic, antialiased) to this many pixels a side.

    Raises
    ------
    UserError : names the member that is not a readable 8-bit image, has more pixels than
        `bounds.PIXELS`, or cannot be told from the ground.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                if image.width * image.height > bounds.PIXELS:
                    raise Image.DecompressionBombError
                if image.mode.startswith(DEEP_MODES):
                    raise UserError(
                        f"{member} has more than 8 bits a channel: convert it to 8 bits."
                    )
                # phones store how they were held apart
                ImageOps.exif_transpose(image, in_place=True)
                image = _opaque(image, member)
                if size is not None:
                    image = ImageOps.fit(image, (size, size), method=Image.Resampling.BICUBIC)
                pixels = np.asarray(image)
    except UserError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(
            f"{member} is larger than the {bounds.PIXELS:,} pixels that are read of an image: make "
            "it smaller."
        ) from error
    except UnidentifiedImageError as error:  # its message is the address of our buffer
        raise UserError(
            f"{member} is not a readable image ({', '.join(FORMATS)}): replace or remove it."
        ) from error
    except Exception as error:  # Pillow's plugins raise almost anything on damaged input
        raise UserError(f"{member} is not a readable image ({error}): replace it.") from error
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)  # (H, W, 3) -> (3, H, W)


def _opaque(image: Image.Image, member: str) -> Image.Image:
    """Return an image as grey ("L") or coloured ("RGB"), laid on GROUND where one sees through.

    Raises
    ------
    UserError : on that ground nothing of it is to be seen, such as a white drawing without ground.
    """
    grey, palette = image.mode in ("1", "L", "LA", "La"), image.mode in ("P", "PA")
    shown = _laid_on_ground(image, member) if _may_be_transparent(image) else image
    if grey:
        return shown.convert("L")
    shown = shown.convert("RGB")
    if palette:
        pixels = np.asarray(shown)  # (H, W, 3)
        if (pixels == pixels[..., :1]).all():
            return shown.convert("L")  # exact: the weights of the channels sum to one
    return shown


def _may_be_transparent(image: Image.Image) -> bool:
    """Say whether the file has a place for transparency: a channel, a colour, a palette."""
    palette = image.mode == "P" and image.palette is not None and image.palette.mode == "RGBA"
    return palette or image.mode[-1] in "Aa" or "transparency" in image.info


def _laid_on_ground(image: Image.Image, member: str) -> Image.Image:
    """Return an image over GROUND; the image without its alpha where that is opaque throughout."""
    image = image.convert("RGBA")
    if image.getextrema()[3][0] == 255:
        return image.convert("RGB")
    ground = Image.new("RGBA", image.size, GROUND)
    shown = Image.alpha_composite(ground, image).convert("RGB")
    if shown.getextrema() == ground.convert("RGB").getextrema():
        raise UserError(
            f"{member} is transparent and shows nothing on {GROUND}, which is what transparent "
            "pixels are laid on: give it a ground."
        )
    return shown


class Stack:
    """Collects decoded images of one split and puts them in order of class and name.

    Parameters
    ----------
    where : the container and split, for errors.
    size : as in `decode`.
    """

    def __init__(self, where: str, size: int | None = None) -> None:
        self.where = where
        self.size = size
        self._images: dict[tuple[str, str], np.ndarray] = {}  # (class, member) -> pixels
        self._bytes = 0

    def add(self, label: str, member: str, content: bytes) -> None:
        """Decode and keep one image of class `label`.

        Raises
        ------
        UserError : unreadable, a repeated name, of another size than the first image, or too many
            pixels in all.
        """
        pixels = decode(content, f"{self.where}: {member}", self.size)
        if (label, member) in self._images:
            raise UserError(f"{self.where}: {member} is stored twice: keep one of them.")
        if self._images:
            (_, first), other = next(iter(self._images.items()))
            if other.shape[1:] != pixels.shape[1:]:
                raise UserError(
                    f"{self.where}: {member} is {_extent(pixels)} pixels but {first} is "
                    f"{_extent(other)}: make them one size, or pass size= to crop and resize."
                )
        self._bytes += pixels.nbytes
        bounds.check_split(self._bytes, self.where)
        self._images[label, member] = pixels

    def labels(self) -> set[str]:
        """Return the classes that have images so far."""
        return {label for label, _ in self._images}

    def finish(self, classes: tuple[str, ...]) -> Decoded:
        """Return the split sorted by class and member; grey unless any image has colours.

        Raises
        ------
        UserError : no image at all, or a class without images.
        """
        keys = sorted(self._images)
        rank = {name: label for label, name in enumerate(classes)}
        y = np.array([rank[label] for label, _ in keys], dtype=np.int64)
        check_labels(y, classes, self.where)
        channels = max(len(pixels) for pixels in self._images.values())
        shape = (len(keys), channels, *self._images[keys[0]].shape[1:])
        x = np.empty(shape, dtype=np.uint8)  # (N, C, H, W)
        for row, key in enumerate(keys):
            x[row] = self._images[key]  # a grey image among coloured ones fills all three channels
        return Decoded(x, y, classes, in_order=False)


def _extent(pixels: np.ndarray) -> str:
    """Width x height, the way picture viewers say it."""
    return f"{pixels.shape[2]}x{pixels.shape[1]}"
