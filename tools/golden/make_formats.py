"""Writes pictures in every format that the decoder reads, with what Pillow makes of them. Usage: python make_formats.py OUT_DIR

Needs requirements-formats.txt only. Each case in cases.json has a file, the PNG that Pillow made of it (transparency over white,
turned by EXIF), and how far the mean of the levels may be off: codecs with loss round differently, and enlarge chroma differently."""

import hashlib
import io
import json
import struct
import sys
from pathlib import Path

import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401, registers itself
import tifffile
from PIL import Image, ImageCms, ImageOps

pillow_heif.register_heif_opener()
OUT = Path(sys.argv[1])
CASES, SEEN = [], {}


def picture(width, height):
    """Smooth hills with an edge and a disc: survives lossy codecs, and shows every turn."""
    y, x = np.mgrid[0:height, 0:width]
    levels = [128 + 110 * np.sin(x / 9 + k) * np.cos(y / 7 - k) for k in range(3)]
    image = np.stack(levels, 2)
    image[:, : width // 4] = image[:, : width // 4] * 0.4 + 20
    image[(x - width * 0.7) ** 2 + (y - height * 0.3) ** 2 < 36] = (250, 210, 30)
    return Image.fromarray(image.clip(0, 255).astype(np.uint8))


RGB = picture(61, 45)
GREY = RGB.convert("L")
MASK = Image.fromarray((np.mgrid[0:45, 0:61][1] * 4).clip(0, 255).astype(np.uint8))
RGBA = RGB.copy()
RGBA.putalpha(MASK)


def seen_by_pillow(data):
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if image.mode == "I;16":  # Pillow cuts at 255, which leaves a white page; we take the upper byte, as it does for colours
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def keep(name, data, tolerance=0.0, expected=None):
    (OUT / name).write_bytes(data)
    image = expected or seen_by_pillow(data)
    key = hashlib.sha256(image.tobytes() + repr(image.size).encode()).hexdigest()
    if key not in SEEN:
        SEEN[key] = f"{name.replace('.', '-')}.png"
        image.save(OUT / SEEN[key], optimize=True)
    CASES.append({"file": name, "expected": SEEN[key], "tolerance": tolerance})


def saved(image, **how):
    data = io.BytesIO()
    image.save(data, **how)
    return data.getvalue()


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


def modern():
    heif = lambda image, **how: saved(image, format="HEIF", quality=90, **how)
    keep("odd.heic", heif(RGB), 3.5)
    keep("full-chroma.heic", heif(RGB, chroma=444), 2.5)
    keep("grey.heic", heif(GREY), 2.5)
    keep("alpha.heic", heif(RGBA), 2.5)
    deep = pillow_heif.from_bytes("RGB;16", RGB.size, (np.asarray(RGB).astype(np.uint16) << 8).tobytes())
    data = io.BytesIO()
    deep.save(data, quality=90)
    keep("deep.heic", data.getvalue(), 3.5)
    keep("grid.heic", heic_grid(), 2.5)
    for turn in (3, 6, 7):
        keep(f"turned-{turn}.heic", heif(RGB, exif=exif(turn)), 3.5)
    avif = lambda image, **how: saved(image, format="AVIF", quality=90, **how)
    keep("odd.avif", avif(RGB), 3.5)
    keep("full-chroma.avif", avif(RGB, subsampling="4:4:4"), 2.5)
    keep("half-chroma.avif", avif(RGB, subsampling="4:2:2"), 2.5)
    keep("limited.avif", avif(RGB, range="limited"), 3.5)
    keep("grey.avif", avif(GREY), 2.5)
    keep("alpha.avif", avif(RGBA), 2.5)
    for turn in (5, 6):
        keep(f"turned-{turn}.avif", avif(RGB, exif=exif(turn)), 3.5)
    keep("lossy.jxl", saved(RGB, format="JXL", quality=90), 1.0)
    keep("lossless.jxl", saved(RGB, format="JXL", lossless=True))
    keep("grey.jxl", saved(GREY, format="JXL", lossless=True))
    keep("alpha.jxl", saved(RGBA, format="JXL", lossless=True), 0.1)
    keep("lossless.jp2", saved(RGB, format="JPEG2000"))
    keep("lossy.jp2", saved(RGB, format="JPEG2000", irreversible=True, quality_mode="rates", quality_layers=[8]), 0.5)
    keep("grey.jp2", saved(GREY, format="JPEG2000"))
    keep("alpha.jp2", saved(RGBA, format="JPEG2000"), 0.1)
    keep("bare.j2k", saved(RGB, format="JPEG2000", no_jp2=True))


def box(kind, *parts):
    data = b"".join(parts)
    return struct.pack(">I", len(data) + 8) + kind + data


def heic_grid():
    """Four tiles of 64x64 that show 100x90 pixels, as phones store their pictures: pillow-heif writes none, so the boxes are laid by hand."""
    whole = picture(128, 128)
    tiles = []
    for y, x in ((0, 0), (0, 64), (64, 0), (64, 64)):
        data = saved(whole.crop((x, y, x + 64, y + 64)), format="HEIF", quality=90)
        boxes = dict(walk(data))
        meta = dict(walk(boxes[b"meta"][4:]))
        config = dict(walk(dict(walk(meta[b"iprp"]))[b"ipco"]))[b"hvcC"]
        tiles.append((config, item_data(data, meta[b"iloc"])))
    layout = struct.pack(">BBBBHH", 0, 0, 1, 1, 100, 90)
    items = [(1, b"grid")] + [(index + 2, b"hvc1") for index in range(4)]
    infos = [box(b"infe", struct.pack(">IHH", 2 << 24 | (index > 1), index, 0), kind, b"\0") for index, kind in items]
    properties = box(b"ipco", box(b"ispe", bytes(4), struct.pack(">II", 100, 90)), box(b"ispe", bytes(4), struct.pack(">II", 64, 64)), box(b"hvcC", tiles[0][0]))
    links = struct.pack(">IIHBB", 0, 5, 1, 1, 1) + b"".join(struct.pack(">HBBB", index + 2, 2, 2, 0x83) for index in range(4))
    start = box(b"ftyp", b"heic", bytes(4), b"mif1heic")

    def meta(offset):
        places, entries = offset, []
        for index, data in [(1, layout)] + [(index + 2, tile[1]) for index, tile in enumerate(tiles)]:
            entries.append(struct.pack(">HHHII", index, 0, 1, places, len(data)))
            places += len(data)
        return box(
            b"meta", bytes(4), box(b"hdlr", bytes(8), b"pict", bytes(13)), box(b"pitm", bytes(4), struct.pack(">H", 1)),
            box(b"iloc", struct.pack(">IHH", 0, 0x4400, 5), *entries), box(b"iinf", struct.pack(">IH", 0, 5), *infos),
            box(b"iref", bytes(4), box(b"dimg", struct.pack(">HHHHHH", 1, 4, 2, 3, 4, 5))), box(b"iprp", properties, box(b"ipma", links)),
        )

    payload = layout + b"".join(tile[1] for tile in tiles)
    offset = len(start) + len(meta(0)) + 8
    return start + meta(offset) + box(b"mdat", payload)


def walk(data):
    while len(data) >= 8:
        size, kind = struct.unpack(">I4s", data[:8])
        yield kind, data[8 : size or len(data)]
        data = data[size or len(data) :]


def item_data(file, iloc):
    """The only item's bytes."""
    version, sizes, bases = iloc[0], iloc[4], iloc[5]
    skip = 8 + (2 if version < 2 else 4) + (2 if version else 0) + 2
    base = int.from_bytes(iloc[skip : skip + (bases >> 4)], "big")
    skip += (bases >> 4) + 2
    offset = int.from_bytes(iloc[skip : skip + (sizes >> 4)], "big")
    skip += sizes >> 4
    length = int.from_bytes(iloc[skip : skip + (sizes & 15)], "big")
    return file[base + offset : base + offset + length]


def classic():
    keep("plain.tga", saved(RGB, format="TGA"))
    keep("packed.tga", saved(RGB, format="TGA", compression="tga_rle"))
    keep("grey.tga", saved(GREY, format="TGA"))
    keep("palette.tga", saved(RGB.quantize(64), format="TGA"))
    keep("alpha.tga", saved(RGBA, format="TGA"), 0.1)
    keep("icon.ico", saved(RGBA.resize((48, 48)), format="ICO", sizes=[(16, 16), (48, 48)]), 0.1)
    keep("icon-bmp.ico", saved(RGB.convert("RGBA").resize((32, 32)), format="ICO", sizes=[(32, 32)], bitmap_format="bmp"), 0.1)
    keep("palette.bmp", saved(RGB.quantize(64), format="BMP"))
    keep("bits.bmp", saved(GREY.convert("1"), format="BMP"))
    plain = bytearray(saved(RGB, format="BMP"))
    pixels, stride = plain[54:], (61 * 3 + 3) // 4 * 4
    flipped = b"".join(bytes(pixels[row * stride : (row + 1) * stride]) for row in reversed(range(45)))
    keep("top-down.bmp", bytes(plain[:22]) + struct.pack("<i", -45) + bytes(plain[26:54]) + flipped)
    keep("os2.bmp", struct.pack("<2sIHHIIHHHH", b"BM", 26 + len(pixels), 0, 0, 26, 12, 61, 45, 1, 24) + bytes(pixels))
    keep("two-frames.gif", saved(RGB.quantize(64), format="GIF", save_all=True, append_images=[GREY.quantize(16)]))
    keep("deep.png", saved(Image.fromarray(np.asarray(GREY).astype(np.uint16) * 257 // 2), format="PNG"))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    keep("turned-8.png", saved(RGB, format="PNG", exif=exif(8)))
    keep("turned-6.webp", saved(RGB, format="WEBP", lossless=True, exif=exif(6), icc_profile=profile))
    keep("turned-5.tif", saved(RGB, format="TIFF", exif=exif(5)))


def tiff():
    values, grey = np.asarray(RGB), np.asarray(GREY)

    def written(name, data, tolerance=0.0, expected=None, **how):
        file = io.BytesIO()
        tifffile.imwrite(file, data, **how)
        keep(f"{name}.tif", file.getvalue(), tolerance, expected)

    written("tiled", values, photometric="rgb", tile=(16, 16))
    written("planes", values.transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate", expected=RGB)
    written("big", values, photometric="rgb", bigtiff=True)
    written("deep", values.astype(np.uint16) * 257, photometric="rgb")
    written("deep-grey", grey.astype(np.uint16) * 257 // 2)
    written("deflate", values, photometric="rgb", compression="deflate", predictor=True)
    written("reversed", 255 - grey, photometric="miniswhite")
    keep("palette.tif", saved(RGB.quantize(64), format="TIFF"))
    keep("bits.tif", saved(GREY.convert("1"), format="TIFF"))
    keep("fax.tif", saved(GREY.convert("1"), format="TIFF", compression="group4"))
    keep("lzw.tif", saved(RGB, format="TIFF", compression="tiff_lzw"))
    keep("jpeg.tif", saved(RGB, format="TIFF", compression="jpeg", quality=95), 3.0)
    keep("cmyk.tif", saved(RGB.convert("CMYK"), format="TIFF"), 1.0)
    keep("packbits.tif", saved(RGB, format="TIFF", compression="packbits"))
    keep("alpha.tif", saved(RGBA, format="TIFF"), 0.1)
    keep("lab.tif", saved(ImageCms.applyTransform(RGB, lab_transform()), format="TIFF"), 3.0, expected=RGB)


def lab_transform():
    return ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    modern()
    classic()
    tiff()
    (OUT / "cases.json").write_text(json.dumps(CASES, indent=1) + "\n")
