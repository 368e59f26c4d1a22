"""What the name of a TCGA slide says: patient, sample, site, and how the section was made.

TCGA-CR-7395-01A-01-TS1: site CR, participant 7395, sample 01 (primary tumour) of vial A, portion
01, first frozen section from the top.
"""

import re
from pathlib import PurePath

from eosin.catalog.entry import Value

SAMPLE_TYPES = {
    "01": "Primary Solid Tumor",
    "02": "Recurrent Solid Tumor",
    "03": "Primary Blood Derived Cancer - Peripheral Blood",
    "04": "Recurrent Blood Derived Cancer - Bone Marrow",
    "05": "Additional - New Primary",
    "06": "Metastatic",
    "07": "Additional Metastatic",
    "08": "Human Tumor Original Cells",
    "09": "Primary Blood Derived Cancer - Bone Marrow",
    "10": "Blood Derived Normal",
    "11": "Solid Tissue Normal",
    "12": "Buccal Cell Normal",
    "13": "EBV Immortalized Normal",
    "14": "Bone Marrow Normal",
    "20": "Control Analyte",
    "40": "Recurrent Blood Derived Cancer - Peripheral Blood",
    "50": "Cell Lines",
    "60": "Primary Xenograft Tissue",
    "61": "Cell Line Derived Xenograft Tissue",
}
"""Source: GDC, TCGA code tables, sample type codes."""

PREPARATIONS = {"DX": "FFPE", "TS": "frozen", "BS": "frozen", "MS": "frozen"}
"""Diagnostic sections are paraffin-embedded; top, bottom and middle sections are frozen."""

TCGA_COLUMNS = (
    "patient",
    "tissue_source_site",
    "sample",
    "sample_type_code",
    "sample_type",
    "portion",
    "section",
    "section_number",
    "preparation",
)

_BARCODE = re.compile(
    r"TCGA-(?P<site>\w{2})-(?P<participant>\w{4})"
    r"(?:-(?P<type>\d{2})(?P<vial>[A-Z])?"
    r"(?:-(?P<portion>\d{2})[A-Z]?"
    r"(?:-(?P<section>DX|TS|BS|MS)(?P<number>[0-9A-Z]*))?)?)?"
    r"(?![0-9A-Z])",
    re.IGNORECASE,
)


def tcga_columns(path: str) -> dict[str, Value]:
    """Return what a TCGA barcode at the start of the file name says, nothing for other names.

    A barcode that is cut short gives the columns it still holds.

    Source: GDC, TCGA barcode ("Reading Barcodes").
    """
    found = _BARCODE.match(PurePath(path).name)
    if found is None:
        return {}
    part = {name: text.upper() for name, text in found.groupdict().items() if text}
    columns: dict[str, Value] = {
        "patient": f"TCGA-{part['site']}-{part['participant']}",
        "tissue_source_site": part["site"],
    }
    if "type" in part:
        columns["sample"] = f"{columns['patient']}-{part['type']}{part.get('vial', '')}"
        columns["sample_type_code"] = part["type"]
        columns["sample_type"] = SAMPLE_TYPES.get(part["type"])
    if "portion" in part:
        columns["portion"] = part["portion"]
    if "section" in part:
        columns["section"] = part["section"]
        columns["section_number"] = part.get("number")
        columns["preparation"] = PREPARATIONS[part["section"]]
    return columns
