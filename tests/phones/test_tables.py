"""Tables of members: columns, regions, ids; CSV, JSON lines, PostgreSQL dumps. Both scanners agree."""

import csv
import io
import json
import random

import numpy as np
import phonenumbers
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from contactsync.foundation.errors import BadInput
from contactsync.identifiers import SCHEME, Rejected, normalise
from contactsync.phones import Columns, bulk, plans, read_numbers, records, tables
from contactsync.phones.layout import RecordLayout, unescape

USERS = Columns("phone", "country", "id")
REGIONS = ("DE", "de", "GB", "US", "BR", "IT", "", " fr ", "XX", "UK", "D", "DEU", "\\N", "Ü1")


def read(data, region=None, columns=USERS, **options):
    batches = list(read_numbers(io.BytesIO(data), region, "users", columns=columns, **options))
    numbers = [int(n) for batch in batches for n in batch.numbers]
    refused = [
        (r.line, r.identity, r.reason, r.text)
        for batch in batches
        for r in batch.refused
        if r.reason != "two numbers in one field"
    ]
    return numbers, refused


def both_ways(data, region=None, columns=USERS):
    """Read in Python and by the kernel, in small chunks too: all the same."""
    small = read(data, region, columns)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "SMALL", 0)
        assert read(data, region, columns) == small
        patch.setattr(records, "_MOST_RECORDS", 3)
        patch.setattr(tables, "_TAKEN", 50)
        assert read(data, region, columns, chunk=records.MAX_RECORD * 2) == small
    return small


def expected(rows, region=None):
    """What rows of (id, phone, country) mean, by the profile alone."""
    numbers, refused = [], []
    for identity, phone, country in rows:
        where, reason, number = country.strip().upper(), "", 0
        if not phone.strip():
            reason = "the column phone is empty"
        elif where and where not in phonenumbers.SUPPORTED_REGIONS:
            reason = "unknown region"
        else:
            try:
                number = int(normalise(phone.strip(), where or region)[len(SCHEME) :])
            except Rejected as error:
                reason = error.reason
        numbers.append(number)
        if reason:
            refused.append((identity.strip(), reason))
    return numbers, refused


def as_csv(rows, delimiter=",", quoting=csv.QUOTE_MINIMAL):
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, quoting=quoting)
    writer.writerow(["id", "Phone", "COUNTRY"])
    writer.writerows(rows)
    return buffer.getvalue().encode()


def escaped(value):
    for sign, escape in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        value = value.replace(sign, escape)
    return value or "\\N"


def as_dump(rows, table="public.users", names="id, phone, country"):
    lines = ["\t".join(map(escaped, row)) for row in rows]
    head = "--\n-- PostgreSQL database dump\n--\n\nSET client_encoding = 'UTF8';\n\n"
    return "\n".join([f"{head}COPY {table} ({names}) FROM stdin;", *lines, "\\.", "", "-- done", ""]).encode()


def as_json(rows):
    lines = [json.dumps(dict(zip(("id", "phone", "country"), row, strict=True))) for row in rows]
    return ("\n".join(lines) + "\n").encode()


ROWS = [
    ("1", "0151 23456789", "DE"),
    ("2", "06 12 34 56 78", "fr"),
    ("3", "+1 (415) 555-2671", ""),
    ("4", "07400 123456", "GB"),
    ("5", "0151 23456789", ""),
    ("6", "0151 23456789", "XX"),
    ("7", "nobody", "DE"),
    ("8", "+44 7400 123457", "US"),
    ("a\tb", "8 (912) 345-67-89", "RU"),
    ("", "0412 345 678", "AU"),
]
NUMBERS = [
    4915123456789,
    33612345678,
    14155552671,
    447400123456,
    0,
    0,
    0,
    447400123457,
    79123456789,
    61412345678,
]
REASONS = [("5", "no country code"), ("6", "unknown region"), ("7", "not a phone number")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "write",
    [
        as_csv,
        lambda rows: as_csv(rows, ";"),
        lambda rows: as_csv(rows, "\t"),
        lambda rows: as_csv(rows, "|", csv.QUOTE_ALL),
        lambda rows: b"\xef\xbb\xbf" + as_csv(rows),
        lambda rows: b"sep=;\r\n" + as_csv(rows, ";"),
        lambda rows: as_csv(rows).decode().encode("utf-16"),
        lambda rows: b"\xfe\xff" + as_csv(rows).decode().encode("utf-16-be"),
        as_dump,
        as_json,
    ],
    ids=["csv", ";", "tsv", "quoted", "bom", "sep", "utf-16", "utf-16-be", "dump", "json"],
)
def test_each_number_is_of_its_own_country(write):
    numbers, refused = both_ways(write(ROWS))
    assert numbers == NUMBERS
    assert [(identity, reason) for _, identity, reason, _ in refused] == REASONS
    assert [text for *_, text in refused] == ["0151 23456789", "0151 23456789", "nobody"]


@pytest.mark.slow
def test_a_default_is_for_rows_that_name_no_country():
    numbers, refused = both_ways(as_csv(ROWS), "AT")
    assert numbers[4] == 4315123456789
    assert [identity for _, identity, *_ in refused] == ["6", "7"]


cells = st.text(alphabet='+0123456789"\n,;\t\\Nx é', max_size=12)
rows_of_cells = st.lists(st.tuples(cells, cells, st.sampled_from(REGIONS) | cells), max_size=8)
SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def said(rows):
    return [row for row in rows if any(cell.strip(' \r\n\t,"') for cell in row)]


@pytest.mark.slow
@SETTINGS
@given(rows_of_cells, st.sampled_from([None, "DE", "US"]))
def test_any_csv_means_what_the_csv_module_and_the_profile_say(rows, region):
    numbers, refused = both_ways(as_csv(rows), region)
    assert (numbers, [(i, reason) for _, i, reason, _ in refused]) == expected(said(rows), region)


@pytest.mark.slow
@SETTINGS
@given(rows_of_cells, st.sampled_from([None, "DE"]))
def test_any_dump_means_what_its_values_say(rows, region):
    rows = [row for row in rows if any(cell.strip(" \r\t") for cell in row)]
    numbers, refused = both_ways(as_dump(rows), region)
    assert (numbers, [(i, reason) for _, i, reason, _ in refused]) == expected(rows, region)


@pytest.mark.slow
@SETTINGS
@given(rows_of_cells)
@example([("", "\n", ""), ("", "\t", "")])
def test_any_json_lines_mean_what_their_values_say(rows):
    numbers, refused = both_ways(as_json([("0", "+14155552671", "US"), *rows]))
    want = [row for row in rows if any(cell.strip(" ") for cell in row)]  # JSON says where a tab is
    assert (numbers[1:], [(i, reason) for _, i, reason, _ in refused]) == expected(want)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_octets_give_rows_or_one_error(tail):
    heads = (
        b"id,phone,country\n",
        b"COPY public.users (id, phone, country) FROM stdin;\n",
        b'{"id": 1, "phone": "+14155552671", "country": "US"}\n',
    )
    for head in heads:
        for end in (b"", b"\n\\.\n"):
            try:
                both_ways(head + tail.replace(b"\0", b'"') + end)
            except BadInput:
                continue


@pytest.mark.slow
def test_numbers_as_dialled_in_every_region_are_those_of_the_profile():
    rng = random.Random(4)
    rows = []
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for _ in range(12):
            digits = "".join(rng.choices("0123456789", k=rng.randrange(5, 12)))
            rows.append((str(len(rows)), rng.choice(["", "0", "0", "8", "1", "00", "+"]) + digits, region))
    numbers, refused = both_ways(as_csv(rows))
    assert (numbers, [(i, reason) for _, i, reason, _ in refused]) == expected(rows)
    assert np.count_nonzero(numbers) > 500


# ---- the tables of regions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("0", ("", "0")),
        ("(183[12])|0", ("(183[12])", "0")),
        ("([25-9]\\d{5})$|0|180020", ("([25-9]\\d{5})$", "0")),
        ("0(1|2)|[08]|8", ("0(1|2)|[08]", "8")),
        ("180020|0(8)?", ("", "")),
        ("", ("", "")),
    ],
)
def test_the_plain_alternative_of_a_prefix(pattern, found):
    assert plans._plain_alternative(pattern) == found


@pytest.mark.parametrize(
    ("text", "region"),
    [("07400123456", "GB"), ("0412345678", "AU"), ("89123456789", "RU"), ("09012345678", "JP")],
)
def test_large_countries_take_the_fast_path(text, region):
    layout = RecordLayout(-1, -1, 0, 0, 1)
    scanned = records.Scanner(layout, region).scan(text.encode(), 0, final=True)
    assert scanned.numbers.tolist() == [int(normalise(text, region)[len(SCHEME) :])]


@pytest.mark.slow
def test_every_region_has_its_row():
    by_region = plans.by_region("DE", every=True)
    assert np.count_nonzero(by_region.row >= 0) == len(phonenumbers.SUPPORTED_REGIONS)
    place = 26 * (ord("G") - ord("A")) + ord("B") - ord("A")
    assert (by_region.actions[by_region.row[place]] == plans.national("GB").action).all()
    assert (by_region.actions[0] == plans.national("DE").action).all()


# ---- columns -----------------------------------------------------------------------------------------------


def test_columns_by_number_with_a_header_and_without():
    columns = Columns("2", "3", "1")
    for head in (b"id,mobile,land\n", b""):
        numbers, refused = both_ways(head + b"7,0151 23456789,DE\n8,x,DE\n", columns=columns)
        assert numbers == [4915123456789, 0]
        assert [(identity, reason) for _, identity, reason, _ in refused] == [("8", "not a phone number")]


def test_a_column_that_is_called_by_a_number():
    data = b"2,1\n+4915123456789,+14155552671\n"
    assert both_ways(data, columns=Columns("1"))[0] == [14155552671]


@pytest.mark.parametrize(
    ("data", "columns", "says", "hint"),
    [
        (as_csv(ROWS), Columns("mobile"), "no column named mobile", "id, phone, country"),
        (as_csv(ROWS), Columns("phone", "land"), "no column named land", "id, phone, country"),
        (as_csv(ROWS), Columns("4"), "no column named 4", "id, phone, country"),
        (as_csv(ROWS), Columns("0"), "no column named 0", ""),
        (b"7,+4915123456789\n", Columns("phone", None, "id"), "no column named phone", "names no columns"),
        (b"a,b,A\n", Columns("a"), "more than one column named a", "number"),
        (b"mobile,name\n", Columns(), "no column named phone", "mobile, name; choose with --phone-column"),
        (as_json(ROWS), Columns("mobile"), "no field named mobile", "id, phone, country"),
        (as_dump(ROWS), Columns("mobile"), "no table with the columns mobile", "public.users"),
        (as_dump(ROWS), Columns(tables=("accounts",)), "no table accounts", "public.users"),
        (
            as_dump(ROWS),
            Columns("phone", "land", tables=("users",)),
            "no column named land",
            "id, phone, country",
        ),
        (as_csv(ROWS), Columns(tables=("users",)), "no PostgreSQL dump", "leave --table out"),
        (as_json(ROWS), Columns(tables=("users",)), "no PostgreSQL dump", "leave --table out"),
        (b"PGDMP\x01\x0e", USERS, "custom format", "pg_restore"),
        (b'[{"phone": 1}]', USERS, "one JSON array", "jq"),
        (b"-- PostgreSQL database dump\nINSERT INTO users VALUES (1);\n", USERS, "no table", "--inserts"),
    ],
)
def test_what_cannot_be_read_says_what_to_do(data, columns, says, hint):
    with pytest.raises(BadInput, match=says) as raised:
        read(data, columns=columns)
    assert hint in raised.value.hint


def test_no_number_is_shown_if_the_first_line_is_a_row():
    with pytest.raises(BadInput) as raised:
        read(b"7,+4915123456789,DE\n", columns=Columns("mobile"))
    assert "4915123456789" not in str(raised.value) + raised.value.hint


def test_the_id_is_not_the_number():
    with pytest.raises(BadInput, match="cannot be both"):
        Columns("Phone", None, "phone")


@pytest.mark.parametrize("write", [as_csv, as_dump, as_json])
def test_a_column_of_countries_is_never_ignored_in_silence(write):
    with pytest.raises(BadInput, match=r"has a column country, but .* as of DE") as raised:
        read(write(ROWS), "DE", Columns())
    assert "--region-column 'country'" in raised.value.hint
    assert read(write(ROWS), "DE", Columns(region=""))[0][0] == 4915123456789
    assert read(write(ROWS), None, Columns())[0] == [0, 0, 14155552671, 0, 0, 0, 0, 447400123457, 0, 0]


# ---- dumps -------------------------------------------------------------------------------------------------


def test_lines_are_those_of_the_dump():
    _, refused = both_ways(as_dump(ROWS))
    assert [line for line, *_ in refused] == [12, 13, 14]


def test_other_tables_and_strings_with_statements_are_passed_over():
    other = "COPY public.notes (id, body) FROM stdin;\n1\tCOPY x (phone) FROM stdin;\\nsee\n2\t\\\\.\n\\.\n"
    comment = (
        "-- Name: it's a trap; Type: COMMENT\n"
        "COMMENT ON TABLE public.users IS 'all -- of them\n"
        "COPY public.users (id, phone, country) FROM stdin;\n1\t+4915111111111\tDE\n\\.\n it''s';\n"
        "CREATE FUNCTION f() RETURNS text AS $body$\n"
        "COPY public.users (id, phone, country) FROM stdin;\n$body$;\n"
        "/* it's\nCOPY public.users (id, phone, country) FROM stdin;\n*/\n"
        'CREATE TABLE "it\'s" (id int);\n'
    )
    head, start, tail = as_dump(ROWS).decode().partition("COPY")
    numbers, refused = both_ways((head + other + comment + start + tail + other).encode())
    assert numbers == NUMBERS
    assert [identity for _, identity, *_ in refused] == ["5", "6", "7"]


def test_inserts_with_a_statement_of_a_user_in_them_give_nothing():
    data = (
        "-- PostgreSQL database dump\nINSERT INTO public.users VALUES (1, '+14155552671', 'US', 'my bio\n"
        "COPY public.users (id, phone, country) FROM stdin;\n9\t+4915123456789\tDE\n\\.\n');\n"
    )
    with pytest.raises(BadInput, match="no table"):
        read(data.encode())


def test_two_tables_with_the_columns():
    data = as_dump(ROWS[:2]) + as_dump(ROWS[2:4], "archive.users")
    with pytest.raises(BadInput, match=r"both public.users and archive.users"):
        read(data)
    assert both_ways(data, columns=Columns("phone", "country", "id", ("archive.users",)))[0] == NUMBERS[2:4]
    assert both_ways(data, columns=Columns("phone", "country", "id", ("users",)))[0] == NUMBERS[:4]


def test_quoted_names():
    data = as_dump(ROWS[:4], 'public."User list"', '"Id", "The ""phone""", country')
    assert both_ways(data, columns=Columns('the "phone"', "Country", "id"))[0] == NUMBERS[:4]


def test_a_dump_that_is_cut_off_is_no_table():
    data = as_dump(ROWS)
    with pytest.raises(BadInput, match=r"table public.users: the dump is cut off"):
        read(data[: data.index(b"\\.")])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("\\N", ""),
        ("a\\\\b", "a\\b"),
        ("a\\tb\\nc", "a\tb\nc"),
        ("\\x41\\x4g", "A\x04g"),
        ("\\101\\7x", "A\x07x"),
        ("\\q\\", "q\\"),
        ("\\\\N", "\\N"),
    ],
)
def test_escapes_of_copy(text, value):
    assert unescape(text) == value


# ---- JSON lines --------------------------------------------------------------------------------------------


def test_json_lines_with_odd_values():
    data = (
        b'{"phone": 4915123456789, "country": "DE", "ID": 17}\n\n'
        b'{"phone": null, "country": "DE", "id": 18}\n'
        b"nonsense\n[1]\n"
        b'{"phone": true, "id": 19}\n'
        b'{"Phone": "+14155552671"}\n'
        b'{"phone": {"number": "+14155552671"}, "id": 21}'
    )
    numbers, refused = both_ways(data)
    assert numbers == [0, 0, 0, 0, 0, 14155552671, 0]
    assert [(line, identity, reason) for line, identity, reason, _ in refused] == [
        (1, "17", "its own country code without +"),
        (3, "18", "the column phone is empty"),
        (4, "", "not a JSON object on a line of its own"),
        (5, "", "not a JSON object on a line of its own"),
        (6, "19", "the column phone is empty"),
        (8, "21", "the column phone is empty"),
    ]


PLAIN = b'{"id": "1", "phone": "+14155552671", "country": "US"}'
LATER = PLAIN.replace(b"2671", b"2672")


@pytest.mark.parametrize(
    ("lines", "want"),
    [
        ([b" " + LATER, LATER + b" \r", b"\t" + LATER], [14155552672] * 3),
        ([LATER + b"," + LATER], None),  # two values are no line
        ([LATER + "\u00a0".encode()], None),
        ([LATER + b"x", b"x" + LATER], None),
        ([LATER[:-1], b', "name": "x"}'], None),  # nor is one of two lines
        ([b'{"phone": "+1415', b'5552672"}'], None),
        ([LATER.replace(b"+1415", b"+1\\u00341\\u0035")], [14155552672]),
        ([LATER.replace(b"{", b'{"phone": "none", ')], [14155552672]),  # the last of a name counts
        ([LATER.replace(b'"1"', b'"\xff"')], None),  # no UTF-8
        ([b"\xef\xbb\xbf" + LATER], [14155552672]),
        (
            [LATER.replace(b'"1"', b'"a\\tb\\nc\\\\d"'), LATER.replace(b'"1"', b'"\\ud800"')],
            [14155552672] * 2,
        ),
        ([LATER.replace(b'"phone"', b'" Phone "')], [14155552672]),
        ([b"[" * 100_000, LATER], [0, 14155552672]),
        ([b'"phone"', b"17", b"null", b'{"id": "9", "phone": ["+14155552672"]}'], None),
    ],
)
def test_each_line_of_json_is_one_value_or_a_fault(lines, want):
    """Whichever of the two ways a line is read; neighbours are read as ever."""
    data = b"\n".join([PLAIN, *lines, PLAIN])
    numbers, refused = both_ways(data)
    assert (numbers[0], numbers[-1]) == (14155552671, 14155552671)
    assert numbers[1:-1] == ([0] * len(lines) if want is None else want)
    assert len(refused) == numbers.count(0)
