"""Files of members."""

import io

import numpy as np

from contactsync.server.members import read_numbers


def read(text, region="DE"):
    bad = []
    chunks = list(read_numbers(io.StringIO(text, newline=""), region, lambda *where: bad.append(where)))
    return [int(n) for chunk in chunks for n in chunk], [line for line, _ in bad], [why for _, why in bad]


def test_a_list():
    found, bad, reasons = read(
        "\ufeff+49 151 1234567\n\n# staff\n0151 1234567\nnonsense\n+1 (212) 555-0100\r\n"
    )
    assert found == [12125550100, 491511234567]
    assert bad == [5]
    assert not any(any(c.isdigit() for c in reason) for reason in reasons)


def test_csv():
    text = (
        'name,Phone ,note\n"Müller, Jo",0151 1234567,"two\nlines"\n,,\nnobody,,x\nshort\nlast,+12125550100,\n'
    )
    found, bad, _ = read(text)
    assert found == [12125550100, 491511234567]
    assert bad == [5, 6]


def test_csv_with_other_separators():
    for separator in ";\t|":
        assert read(f"id{separator}phone\n7{separator}+491511234567\n")[0] == [491511234567]


def test_a_row_that_is_not_csv_costs_itself():
    text = "phone\n+491511234567\n" + "9" * 200_000 + "\n+12125550100\n"
    assert read(text)[:2] == ([12125550100, 491511234567], [3])


def test_only_a_header_or_nothing():
    assert read("") == ([], [], [])
    assert read("phone\n") == ([], [], [])


def test_chunks_are_ascending_and_distinct():
    (chunk,) = read_numbers(["+491511234569\n", "+491511234567\n", "0151 1234567\n"], "DE", print)
    assert chunk.dtype == np.uint64
    assert chunk.tolist() == [491511234567, 491511234569]
