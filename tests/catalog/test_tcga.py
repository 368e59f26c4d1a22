import pytest

from eosin.catalog.tcga import TCGA_COLUMNS, tcga_columns


def test_a_diagnostic_slide_says_all_about_itself():
    found = tcga_columns("/x/TCGA-A6-2671-01Z-00-DX1.13934a63-2e0b.svs")
    assert found == {
        "patient": "TCGA-A6-2671",
        "tissue_source_site": "A6",
        "sample": "TCGA-A6-2671-01Z",
        "sample_type_code": "01",
        "sample_type": "Primary Solid Tumor",
        "portion": "00",
        "section": "DX",
        "section_number": "1",
        "preparation": "FFPE",
    }
    assert tuple(found) == TCGA_COLUMNS


@pytest.mark.parametrize(
    ("name", "section", "number", "sample_type"),
    [
        ("TCGA-CR-7395-01A-01-TS1_no-mpp.svs", "TS", "1", "Primary Solid Tumor"),
        ("TCGA-CR-7395-11A-02-BSB.svs", "BS", "B", "Solid Tissue Normal"),
        ("tcga-cr-7395-06a-01-ms1.svs", "MS", "1", "Metastatic"),
        ("TCGA-CR-7395-15A-01-TS10", "TS", "10", None),
    ],
)
def test_frozen_slides_are_told_from_diagnostic_ones(name, section, number, sample_type):
    found = tcga_columns(name)
    assert (found["section"], found["section_number"]) == (section, number)
    assert (found["preparation"], found["sample_type"]) == ("frozen", sample_type)
    assert found["patient"] == "TCGA-CR-7395"


def test_a_barcode_that_is_cut_short_gives_what_it_holds():
    assert tcga_columns("TCGA-CR-7395.svs") == {
        "patient": "TCGA-CR-7395",
        "tissue_source_site": "CR",
    }
    assert "portion" not in tcga_columns("TCGA-CR-7395-01A.svs")


@pytest.mark.parametrize("name", ["slide.svs", "my_TCGA-CR-7395.svs", "TCGA-CR-73951.svs", ""])
def test_other_names_say_nothing(name):
    assert tcga_columns(name) == {}
