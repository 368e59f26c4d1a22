"""TIFFs as scanners and converters write them, drawn on the spot."""

from pathlib import Path

import cv2
import numpy as np
import tifffile


def write_pyramid(
    path: Path,
    image: np.ndarray,
    *,
    levels: tuple[int, ...] = (2, 4),
    tile: int = 128,
    compression: str | None = "jpeg",
    subsampling: tuple[int, int] | None = None,
    as_subifds: bool = False,
    software: str | None = None,
    description: str | None = None,
    **settings,
) -> Path:
    """Write a tiled pyramid; coarser levels are reduced pages, or SubIFDs of the first."""
    with tifffile.TiffWriter(path) as tiff:
        for number, downsample in enumerate((1, *levels)):
            size = (image.shape[1] // downsample, image.shape[0] // downsample)
            extra = {"subifds": len(levels)} if as_subifds and number == 0 else {}
            if number == 0 and description is not None:
                extra["description"] = description
            tiff.write(
                image if number == 0 else cv2.resize(image, size, interpolation=cv2.INTER_AREA),
                tile=(tile, tile),
                photometric="ycbcr" if subsampling else "rgb",
                subsampling=subsampling,
                compression=compression,
                subfiletype=int(number > 0),
                software=software,
                metadata=None,
                **extra,
                **settings,
            )
    return path


def philips_description(spacings_mm: list[float]) -> str:
    """Return the part of a Philips header that says how large the pixels of each level are."""
    spacing = "\n".join(
        f'<DataObject ObjectType="PixelDataRepresentation"><Attribute Name="DICOM_PIXEL_SPACING" '
        f'Group="0x0028" Element="0x0030" PMSVR="IDoubleArray">"{mm}" "{mm}"</Attribute>'
        "</DataObject>"
        for mm in spacings_mm
    )
    return (
        '<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">'
        '<Attribute Name="PIM_DP_SCANNED_IMAGES" Group="0x301D" Element="0x1003" '
        'PMSVR="IDataObjectArray"><Array><DataObject ObjectType="DPScannedImage">'
        '<Attribute Name="PIM_DP_IMAGE_TYPE" Group="0x301D" Element="0x1004" '
        'PMSVR="IString">WSI</Attribute>'
        '<Attribute Name="DICOM_PIXEL_SPACING" Group="0x0028" Element="0x0030" '
        f'PMSVR="IDoubleArray">"{spacings_mm[0]}" "{spacings_mm[0]}"</Attribute>'
        '<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE" Group="0x1001" '
        f'Element="0x8B01" PMSVR="IDataObjectArray"><Array>{spacing}</Array></Attribute>'
        "</DataObject></Array></Attribute></DataObject>"
    )
