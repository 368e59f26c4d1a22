from eosin.scan import ScannedSlide, summary


def slide(name, **settings):
    return ScannedSlide(path=f"/x/{name}", name=name, **settings)


def good(name, **settings):
    known = {
        "vendor": "aperio", "codec": "jpeg", "reader": "tiff", "mpp_x": 0.25, "mpp_y": 0.25,
        "mpp_source": "aperio.MPP", "num_levels": 3, "num_bytes": 2_000_000_000,
        "tissue_fraction": 0.3, "tissue_mm2": 100.0, "acceptance": 0.8,
    }  # fmt: skip
    return slide(name, **{**known, **settings})


def words(text):
    return " ".join(text.split())


def test_the_summary_counts_what_there_is():
    text = summary(
        [
            good("a.svs"),
            good("b.svs", mpp_x=0.5, tissue_mm2=50.0, acceptance=0.6),
            good("c.svs", duplicate_of="/x/a.svs"),
            slide("d.svs", problem="is [no] slide"),
        ]
    )
    assert (
        "4 slides (6.00 GB): 2 can be used (150 mm2 of tissue), 1 are copies, 1 have a problem"
        in words(text)
    )
    row = next(line for line in text.splitlines() if "aperio │" in line)
    cells = [cell.strip() for cell in row.strip("│ ").split("│")]
    assert cells == ["aperio", "jpeg", "tiff", "2", "0.25 to 0.5", "3", "75.0", "30%", "70%"]
    assert "aperio.MPP" in text


def test_the_summary_names_every_problem_with_its_reason():
    text = summary([slide("d.svs", problem="is [no] slide"), good("c.svs", duplicate_of="/x/a")])
    assert "d.svs" in text
    assert "is [no] slide" in text
    assert "Copies" in text
    assert "/x/a" in text
    assert "Can be used" not in text


def test_slides_that_may_give_nothing_are_named():
    text = summary([good("a.svs"), good("poor.svs", acceptance=0.0, tissue_fraction=0.006)])
    assert "May give nothing" in text
    row = next(line for line in text.splitlines() if "poor.svs" in line)
    assert "0.60% of the slide" in row
    assert "a.svs" not in text


def test_a_long_list_of_problems_is_cut_and_says_so():
    text = summary([slide(f"{n}.svs", problem="torn") for n in range(100)])
    assert "29.svs" in text
    assert "30.svs" not in text
    assert "and 70 more, in the index" in text


def test_slides_without_tissue_area_or_acceptance_are_shown_all_the_same():
    text = summary([good("a.svs", tissue_mm2=None, acceptance=None, codec=None)])
    assert "1 can be used (0 mm2 of tissue)" in words(text)


def test_notes_are_shown_once_with_how_many_slides_they_hold_for():
    note = "level 3 is left out: it has another shape"
    text = summary(
        [
            good("a.svs", scan_notes=(note, "covers [all] of the slide")),
            good("b.svs", scan_notes=(note,)),
            good("c.svs"),
        ]
    )
    row = next(line for line in text.splitlines() if note in line)
    assert [cell.strip() for cell in row.strip("│ ").split("│")] == [note, "2", "a.svs, b.svs"]
    assert "covers [all] of the slide" in text
    assert "look at these" not in summary([good("c.svs")])
