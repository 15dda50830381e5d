"""Charsets that a book does not declare, and the names that programs give to those they declare."""

import codecs
import time

import pytest

from contactsync.contacts.charsets import charset_of, codec_of
from contactsync.contacts.formats import entries_of
from contactsync.contacts.text import Decoder, to_ascii_superset

# By region: what its computers wrote, and names and headers of books there.
BOOKS = {
    "RU": ("cp1251 koi8_r cp866", ["Жанна Юрьева", "Олег Ильин", "Имя;Фамилия;Рабочий телефон", "Тамара"]),
    "UA": ("cp1251 koi8_u", ["Їжакевич Олена", "Ґалаґан Євген"]),
    "GR": ("cp1253", ["Αννα Παπαδοπούλου", "Γιώργος Νικολάου", "Ελένη"]),
    "IL": ("cp1255", ["דנה אבי", "יוסי כהן", "משה לוי"]),
    "JP": ("cp932 euc_jp", ["山田 花子", "佐藤 愛", "タナカ", "電話番号", "鈴木一郎"]),
    "CN": ("gbk", ["王伟", "张敏", "李娜", "陈静", "姓名,手机", "欧阳修"]),
    "TW": ("cp950", ["陳美玲", "林志明", "姓名,電話", "黃小明"]),
    "KR": ("cp949", ["김하나", "박지성", "이름,전화", "홍길동", "최민수"]),
    "CZ": ("cp1250", ["Jiří Dvořák", "Eliška Malá", "Příjmení", "Šárka"]),
    "PL": ("cp1250", ["Łukasz Wójcik", "Grażyna Żak", "Imię", "Małgorzata"]),
    "HU": ("cp1250", ["Kovács Győző", "Szűcs Erzsébet", "Nagy Ágnes"]),
    "TR": ("cp1254", ["Ayşe Yılmaz", "Çağrı Şahin", "İsmail Öztürk"]),
    "SA": ("cp1256", ["محمد أحمد", "فاطمة علي"]),
    "LT": ("cp1257", ["Jūratė Žukauskienė", "Ąžuolas"]),
    "TH": ("cp874", ["สมชาย ใจดี", "สุดา"]),
    "DE": ("cp1252", ["Jörg Krüger", "Änne Ü", "Weiß", "Günther Groß"]),
    "FR": ("cp1252", ["Hélène Garçon", "Noël Lefèvre", "Prénom", "Société"]),
    "ES": ("cp1252", ["Íñigo Muñoz", "José Peña", "Teléfono móvil"]),
    "SE": ("cp1252", ["Åsa Öberg", "Björn Ström"]),
    "PT": ("cp1252", ["João Conceição", "Endereço"]),
}
SAMPLES = [
    (region, codec, lines)
    for region, (wanted, names) in BOOKS.items()
    for codec in wanted.split()
    for lines in ([[name] for name in names] + [names])
]


def read_with(codec, lines, region):
    encoded = [line.encode(codec) for line in lines]
    found = charset_of(encoded, region)
    return [line.decode(found, "replace") for line in encoded]


def test_one_name_is_enough_where_the_region_is_known():
    """charset-normalizer 3.5.3 reads 37 of these 106 books, most of which hold one name."""
    wrong = [sample for sample in SAMPLES if read_with(sample[1], sample[2], sample[0]) != sample[2]]
    assert wrong == []


def test_most_books_are_read_without_a_region():
    right = sum(read_with(codec, lines, None) == lines for _, codec, lines in SAMPLES)
    assert right >= 0.85 * len(SAMPLES)


def test_the_scripts_are_told_apart_without_a_region():
    latin = {"CZ", "PL", "HU", "TR", "UA"}  # share most of their letters with a neighbour
    others = [sample for sample in SAMPLES if sample[0] not in latin]
    assert [sample for sample in others if read_with(sample[1], sample[2], None) != sample[2]] == []


@pytest.mark.parametrize("region", ["DE", "JP", "RU", None])
def test_a_book_of_another_country_than_its_owner(region):
    assert read_with("cp1252", ["Jörg Krüger", "Anna Weiß"], region) == ["Jörg Krüger", "Anna Weiß"]


SPELLINGS = {
    "cp932": "Shift_JIS SHIFT-JIS shift_jis x-sjis MS_Kanji windows-31j cp932 X-MAC-JAPANESE",
    "gb18030": "GB2312 gbk x-gbk GB18030 cp936",
    "cp949": "EUC-KR KS_C_5601-1987 CP-949 ks_c_5601 windows-949",
    "big5hkscs": "Big5 x-big5 CN-BIG5 Big5-HKSCS",
    "cp1252": "ISO-8859-1 latin1 windows-1252 CP1252 us-ascii ansi",
    "cp1251": "windows-1251 cp1251 WIN1251 x-cp1251",
    "cp1250": "windows-1250 CP-1250",
    "utf_8": "UTF-8 utf8 Utf_8 unicode-1-1-utf-8",
    "koi8_r": "KOI8-R koi8",
    "iso2022_jp_ext": "ISO-2022-JP",
    "iso8859_7": "ISO-8859-7 iso8859-7",
    "euc_jp": "EUC-JP x-euc-jp",
}


@pytest.mark.parametrize(("codec", "name"), [(k, n) for k, names in SPELLINGS.items() for n in names.split()])
def test_charsets_by_the_names_that_programs_give_them(codec, name):
    assert codec_of(name) == codec
    codecs.lookup(codec)


@pytest.mark.parametrize("name", ["rot13", "idna", "zip", "X-KLINGON", "", "hex", "unicode_escape", "cp9999"])
def test_what_is_no_charset(name):
    assert codec_of(name) is None


def test_marks_inside_a_file_are_dropped():
    mark = codecs.BOM_UTF8
    assert to_ascii_superset(mark + b"a\n" + mark + b"b\n") == b"a\nb\n"
    wide = "\ufeffBEGIN:VCARD ü\n".encode("utf-16-le")
    assert to_ascii_superset(b"a\n" + wide) == "a\nBEGIN:VCARD ü\n".encode()
    assert to_ascii_superset(("\ufeffä\n\ufeffb\n").encode("utf-16-be")) == "ä\nb\n".encode()


def test_a_line_that_could_be_utf8_follows_the_others():
    """`é´` in GBK bytes is valid UTF-8 too; the book as a whole is not."""
    data = "姓名,手机\n王伟,1\n张敏,2\n矛,3\n".encode("gbk")
    assert Decoder(data, "CN").decode("矛".encode("gbk")) == "矛"
    mixed = ("Zoë,1\n" * 5).encode() + "Jörg,2\n".encode("cp1252")
    assert [Decoder(mixed).decode(line) for line in mixed.splitlines()] == ["Zoë,1"] * 5 + ["Jörg,2"]


@pytest.mark.parametrize("codec", ["cp1251", "koi8_r", "utf-8", "utf-16", "iso8859_5"])
def test_quoted_printable_without_a_charset(codec):
    name = "".join(f"={byte:02X}" for byte in "Жанна Юрьева".encode(codec.replace("utf-16", "utf-8")))
    card = f"BEGIN:VCARD\nVERSION:2.1\nFN;ENCODING=QUOTED-PRINTABLE:{name}\nTEL:1\nEND:VCARD\n"
    (entry,) = entries_of(card.encode(codec), "RU")
    assert entry.name == "Жанна Юрьева"


def test_a_book_in_iso_2022_jp_that_does_not_say_so():
    card = "BEGIN:VCARD\nVERSION:2.1\nN:山田;花子\nTEL:1\nEND:VCARD\n".encode("iso2022_jp")
    (entry,) = entries_of(card, "JP")
    assert entry.name == "花子 山田"


def test_a_long_sample_takes_little_time():
    data = b"FN:" + b"\xe4" * 3_000_000 + b"\n" + b"N:\xe4\n" * 300_000
    started = time.process_time()
    assert len(Decoder(data).decode(b"\xe4")) == 1
    assert time.process_time() - started < 0.5
