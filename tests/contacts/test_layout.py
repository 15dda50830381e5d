"""Which columns of a table hold what: by headings of programs, by words, by the cells themselves."""

import pytest

from contactsync.contacts import headings
from contactsync.contacts.book import Entry, Fault
from contactsync.contacts.formats import entries_of


def read(text, region=None):
    """Name and numbers of each row, then how many faults there are."""
    found = list(entries_of(text.encode(), region))
    rows = [(e.name, [n.text for n in e.numbers]) for e in found if isinstance(e, Entry)]
    return rows, [(f.place, f.reason) for f in found if isinstance(f, Fault)]


def test_every_list_of_headings_has_a_source_and_known_roles():
    for program, table in headings.sources().items():
        assert table["source"], program
        assert set(table) - {"source"} <= set(headings.ROLES), program
        for role in set(table) - {"source"}:
            for heading in table[role]:
                assert headings.plain_heading(heading) == heading, heading


# Thunderbird's importMsgs.properties: 2100 and 2101 are names; 2106, 2107, 2108 and 2110 numbers.
THUNDERBIRD = {
    "de": ("Vorname", "Nachname", "Tel. dienstlich", "Tel. privat", "Fax-Nummer", "Mobil-Tel.-Nr."),
    "fr": ("Prénom", "Nom de famille", "Tél. professionnel ", "Tél. personnel", "Fax", "Portable"),
    "nl": ("Voornaam", "Achternaam", "Telefoon werk", "Telefoon thuis", "Faxnummer", "Mobiel nummer"),
    "pl": (
        "Imię",
        "Nazwisko",
        "Telefonu służbowy",
        "Telefon domowy",
        "Numer faksu",
        "Numer telefonu komórkowego",
    ),
    "it": ("Nome", "Cognome", "Telefono lavoro", "Telefono casa", "Numero fax", "Numero cellulare"),
    "sv": ("Förnamn", "Efternamn", "Telefon arbete", "Telefon privat", "Faxnummer", "Mobiltelefon"),
    "ko": ("이름", "성", "직장 전화", "자택 전화", "팩스", "휴대폰"),
    "zh-CN": ("名字", "姓氏", "工作电话", "家庭电话", "传真号码", "移动电话号码"),
    "zh-TW": ("名", "姓", "商務電話", "住家電話", "傳真號碼", "手機號碼"),
    "ja": ("名", "姓", "勤務先の電話番号", "自宅の電話番号", "FAX 番号", "携帯電話番号"),
    "ru": (
        "Имя",
        "Фамилия",
        "Рабочий телефон",
        "Домашний телефон",
        "Номер факса",
        "Номер мобильного телефона",
    ),
    "uk": ("Ім'я", "Прізвище", "Телефон (роб.)", "Телефон", "Номер факсу", "Номер мобільного телефону"),
    "cs": (
        "Křestní jméno",
        "Příjmení",
        "Telefon do zaměstnání",
        "Telefon domů",
        "Faxové číslo",
        "Číslo na mobil",
    ),
    "da": ("Fornavn", "Efternavn", "Arbejdstelefon", "Hjemmetelefon", "Faxnummer", "Mobilnummer"),
    "fi": ("Etunimi", "Sukunimi", "Työpuhelin", "Kotipuhelin", "Faksin numero", "Matkapuhelinnumero"),
    "hu": ("Utónév", "Vezetéknév", "Munkahelyi telefon", "Otthoni telefon", "Fax", "Mobil"),
    "tr": ("İsim", "Soyadı", "İş telefonu", "Ev telefonu", "Faks numarası", "Cep telefonu"),
    "el": ("Όνομα", "Επώνυμο", "Τηλέφωνο εργασίας", "Τηλέφωνο οικίας", "Αριθμός φαξ", "Αριθμός κινητού"),
    "he": ("שם פרטי", "שם משפחה", "טלפון בעבודה", "טלפון בבית", "מספר פקס", "מספר נייד"),
    "pt-BR": (
        "Primeiro nome",
        "Sobrenome",
        "Telefone comercial",
        "Telefone residencial",
        "Número do fax",
        "Número do celular",
    ),
}


@pytest.mark.parametrize("language", THUNDERBIRD)
def test_thunderbird_in_every_language(language):
    header = ",".join(THUNDERBIRD[language])
    rows, faults = read(f"{header}\nAda,King,030 1,030 2,030 3,0151 4\nBob,Lee,,,,0151 5\n")
    first = "King Ada" if language == "hu" else "Ada King"
    assert rows == [(first, ["030 1", "030 2", "030 3", "0151 4"]), (rows[1][0], ["0151 5"])]
    assert faults == []


# Languages that no program of the list is in.
WORDS = [
    *(
        "Nume;Telefon",
        "Ime i prezime;Broj telefona",
        "Vardas;Telefono numeris",
        "Vārds;Tālrunis telefons",
        "Nafn;Sími",
    ),
    *(
        "الاسم;رقم الهاتف",
        "نام;شماره تلفن",
        "ชื่อ;เบอร์โทร",
        "Họ tên;Điện thoại",
        "Nama;No HP",
        "Име;Мобилен телефон",
    ),
    *(
        "Nom et prénom;Tél",
        "Nom;N° de portable",
        "氏名;携帯",
        "姓名;手机号",
        "이름;휴대전화",
        "Jméno;Telefon",
        "שם;נייד",
    ),
    *(
        "Name;mobilePhone",
        "full_name;phone_number",
        "FULL NAME;CELL PHONE",
        "Name;Handynr.",
        "Kontakt;WhatsApp",
    ),
]


@pytest.mark.parametrize("header", WORDS)
def test_words_for_a_number_in_many_languages(header):
    assert read(f"{header}\nAda;0151 1234567\n") == ([("Ada", ["0151 1234567"])], [])


def test_numbered_headings():
    rows, faults = read("Name,Mobile,Phone1,Phone 2,phone_3,Tel. 4,Phone(5)\nAda,1,2,3,4,5,6\n")
    assert rows == [("Ada", ["1", "2", "3", "4", "5", "6"])]
    assert faults == []


NUMBERS = "0176 04069001", "+49 30 23125002"


def test_an_identifier_beside_a_telephone_number_is_none():
    for heading in (
        "Nummer",
        "Mitgliedsnummer",
        "Kunden-Nr.",
        "Lfd. Nr.",
        "ID",
        "Member No",
        "PLZ",
        "Personalnummer",
    ):
        rows, faults = read(f"{heading};Name;Telefon\n01004711;Ada;{NUMBERS[0]}\n01004712;Bob;{NUMBERS[1]}\n")
        assert rows == [("Ada", [NUMBERS[0]]), ("Bob", [NUMBERS[1]])], heading
        assert faults == [], heading
    assert read(f"Nummer;Name\n{NUMBERS[0]};Ada\n")[0] == [("Ada", [NUMBERS[0]])]


def test_a_column_without_a_known_heading_is_read_if_its_cells_are_clear():
    rows, faults = read(f"Name,Qwerty\nAda,{NUMBERS[0]}\nBob,{NUMBERS[1]}\n")
    assert (rows, faults) == ([("Ada", [NUMBERS[0]]), ("Bob", [NUMBERS[1]])], [])
    rows, faults = read(
        "First,Last,Home,Work,Other,Email\nAda,King,212-555-0143,212-555-0144,,a@example.org\n"
    )
    assert rows == [("Ada King", ["212-555-0143", "212-555-0144"])]


def test_a_column_with_few_numbers_is_reported_not_guessed():
    body = "".join(f"P{i},030 231250{i:02},text\n" for i in range(60))
    rows, faults = read(f"Name,Phone,Remark\n{body}Eve,,0176 04069001\n")
    assert len(rows) == 61
    ((place, reason),) = faults
    assert place == "column 3"
    assert reason.startswith("1 cell may be")
    assert read("Name,Phone,Account\nAda,030 1,1234567\nBob,030 2,7654321\n")[1] == []


def test_a_table_of_an_unknown_language_is_read_by_its_cells():
    rows, faults = read(
        "Aa;Bb;Cc;Dd\nJoost;Mol;020 123 4582;j@example.org\nRoos;Vis;06 12345683;r@example.org\n"
    )
    assert rows == [("Joost Mol", ["020 123 4582"]), ("Roos Vis", ["06 12345683"])]
    assert faults == []


TITLES = ["Kontaktliste Turnverein;;", "Stand 01.09.2025;;", "Stand: September;;\n;;", "Members 2024"]


@pytest.mark.parametrize("title", TITLES)
@pytest.mark.parametrize("header", ["Name;Telefon;Ort", "Aa;Bb;Cc"])
def test_a_title_and_a_header_are_nobody(title, header):
    rows, faults = read(f"{title}\n{header}\nTom Turner;0176 04069091;Bonn\nTina Turner;030 23125091;Köln\n")
    assert rows == [("Tom Turner", ["0176 04069091"]), ("Tina Turner", ["030 23125091"])]
    assert faults == []


def test_a_number_above_the_header_is_reported():
    rows, faults = read("Vereinsheim Tel. 030 23125099;;\nName;Telefon;Ort\nTom;0176 04069091;Bonn\n")
    assert rows == [("Tom", ["0176 04069091"])]
    assert faults == [("line 1", "a number above the header line")]


def test_names_from_parts():
    assert read("Name;Vorname;Telefon\nMuster;Anna;1\n")[0] == [("Anna Muster", ["1"])]
    assert read("Nom;Prénom;Téléphone\nGarçon;Hélène;1\n")[0] == [("Hélène Garçon", ["1"])]
    assert read("姓,名,電話番号\n山田,花子,1\n")[0] == [("山田 花子", ["1"])]
    assert read("名,姓,電話番号\nAnna,Muster,1\n")[0] == [("Anna Muster", ["1"])]
    assert read("Company,Phone\nMills,1\n")[0] == [("Mills", ["1"])]
    assert read("Name,Surname,Phone\nAda,King,1\n")[0] == [("Ada King", ["1"])]
    assert read("Jméno;Příjmení;Mobilní telefon\nJitka;Nová;1\n")[0] == [("Jitka Nová", ["1"])]
    assert read("Nome;Apelido;Telemóvel\nJoão;Reis;1\n")[0] == [("João Reis", ["1"])]
    assert read("Primeiro nome;Sobrenome;Apelido;Celular\nJoão;Reis;Jô;1\n")[0] == [("João Reis", ["1"])]


def test_people_without_a_number_above_the_first_are_kept():
    text = "Ada King,Berlin,\nBob Lee,Bonn,0176 04069001\n"
    assert read(text)[0] == [("Ada King", []), ("Bob Lee", ["0176 04069001"])]


def test_labels_are_groups():
    text = "Name,Labels,Phone 1 - Value\nAda,* myContacts ::: Choir,1\nBob,,2\n"
    assert [entry.categories for entry in entries_of(text.encode())] == [("myContacts", "Choir"), ()]


def test_names_and_numbers_in_lines():
    rows, _ = read("Anna Muster 0176 04069001\nBernd Beispiel: 030 23125002\nCarla Cron - +49 30 23125003\n")
    assert len(rows) == 3
    assert read("Dear Ada,\nmy number is 030 23125002\nBye\n")[1] == [("file", "not an address book")]
