"""More cases from public reports that were looked up for these tests. Each names its report; numbers are fictional."""

import base64

from books.case import Case, card, of, people, read
from books.others import archive


def qp(text: str) -> str:
    """Quoted-printable of every byte, as Samsung and Huawei write it."""
    return "".join(f"={byte:02X}" for byte in text.encode())


GOOGLE_OLD = (
    "Name,Given Name,Additional Name,Family Name,Yomi Name,Given Name Yomi,Name Prefix,Initials,Nickname,Birthday,Location,Notes,"
    "Group Membership,E-mail 1 - Type,E-mail 1 - Value,Phone 1 - Type,Phone 1 - Value,Phone 2 - Type,Phone 2 - Value,Website 1 - Value"
)
JPEG = base64.b64encode(bytes(range(256)) * 3).decode()
PHOTO = "\r\n ".join(JPEG[i : i + 74] for i in range(0, len(JPEG), 74))

REPORTS = [
    Case(
        "android-quotes-every-letter.vcf", "CZ", "https://github.com/owncloud-archive/contacts/issues/861", "N and FN in quoted-printable, letter by letter",
        card(f"N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:{qp('Dvořák')};{qp('Matěj')};;;", f"FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:{qp('Matěj Dvořák')}",
             "TEL;VOICE:+420601000021", version="2.1"),
        read("Matěj Dvořák", "+420601000021"),
    ),
    Case(
        "quoted-address-beside-plain-numbers.vcf", "DE", "https://github.com/owncloud/contacts/issues/399", "one property is quoted, the numbers are not",
        card("N:Beispiel;Bea;;;", "FN:Bea Beispiel", "TEL;CELL:+4917604069101", "TEL;HOME:+493023125101",
             f"ADR;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:;;{qp('Weg 2')};{qp('Ort')};;{qp('12345')};", version="2.1"),
        of("Bea Beispiel", "+4917604069101", "+493023125101"),
    ),
    Case(
        "custom-label-in-brackets.vcf", "IT", "https://github.com/sabre-io/vobject/issues/315", "Samsung puts a charset into brackets of a type",
        card("N:;Prova;;;", "FN:Prova", "X-ANDROID-CUSTOM:vnd.android.cursor.item/nickname;p;1;;;;;;;;;;;;;", "TEL;CELL:3120000101",
             f"TEL;X-CUSTOM(CHARSET=UTF-8,ENCODING=QUOTED-PRINTABLE,{qp('mia etichetta')}):0655550101", version="2.1"),
        of("Prova", "+393120000101", "+390655550101"),
    ),
    Case(
        "quoted-printable-in-30.vcf", "CN", "https://github.com/nextcloud/android/issues/7120", "Huawei's backup declares what 3.0 does not have",
        card(f"FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:{qp('王芳')}", "TEL;CELL:139 1234 5678"), read("王芳", "+8613912345678"),
    ),
    Case(
        "photo-as-data-uri.vcf", "DE", "https://github.com/skarim/vobject/issues/155", "a data URI where base64 is declared",
        card("FN:Foto Frieda", "PHOTO;ENCODING=b;TYPE=png:data:image/png;base64," + PHOTO, "TEL:0176 04069102"), read("Foto Frieda", "+4917604069102"),
    ),
    Case(
        "soft-break-without-a-space.vcf", "DE", "https://github.com/sabre-io/dav/issues/1005", "the next line begins with =0A",
        card("FN:Forst Gum", "LABEL;ENCODING=QUOTED-PRINTABLE;CHARSET=UTF-8:0D=", "=0ATEL:030 23125199", "TEL:0176 04069103", version="2.1"),
        read("Forst Gum", "+4917604069103"),
    ),
    Case(
        "broken-octet-at-a-line-end.vcf", "RU", "https://github.com/jeroendesloovere/vcard/issues/206", "a line ends without =, the next begins with it",
        card("FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:=D0=92=D0=B8=D0=BA=D1=82=D0=BE=D1=80", "=20=D0=9B=D0=B5=D0=B2", "TEL:+7 900 555-01-04", version="2.1"),
        read("Виктор Лев", "+79005550104"),
    ),
    Case(
        "outlook-with-a-picture.vcf", "NL", "https://github.com/libical/libical/issues/339", "labels of several lines and a picture without TYPE=",
        card("N:de Proef;Test;;;(outlook)", "FN:Test de Proef (outlook)", "TEL;WORK;VOICE:(020) 123-4567", "TEL;CELL;VOICE:(06) 1234-5678",
             "LABEL;WORK;ENCODING=QUOTED-PRINTABLE:Straat 99=0D=0A=", "1111AA  Stad=0D=0A=", "Nederland", "X-MS-OL-DEFAULT-POSTAL-ADDRESS:1",
             "X-MS-CARDPICTURE;TYPE=JPEG;ENCODING=BASE64:", " " + PHOTO, "", "REV:20180405T000000Z", version="2.1"),
        of("Test de Proef (outlook)", "+31201234567", "+31612345678"),
    ),
    Case(
        "photo-parameter-over-two-lines.vcf", "DE", "https://github.com/Heymdall/vcard/pull/1", "iOS folds the parameters of a photo",
        card("FN:Ina Bild", "PHOTO;X-ABCROP-RECTANGLE=ABClipRect_1&0&0&671&671&Nh68TCRv7GErj8P8mk8qCA==;", " ENCODING=b;TYPE=JPEG:" + PHOTO, "TEL:0176 04069105"),
        read("Ina Bild", "+4917604069105"),
    ),
    Case(
        "octets-alone-in-a-line.vcf", "AT", "https://github.com/skarim/vobject/issues/152", "a quoted address goes on in its own line",
        card("N:Probe;Max;;;", "FN:Max Probe", "ADR;WORK;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:;;=65=66=", "=31=37=30=31=;;;;", "TEL:0664 1234567", version="2.1"),
        read("Max Probe", "+436641234567"),
    ),
    Case(
        "gmail-cyrillic-groups.csv", "RU", "https://github.com/owncloud-archive/contacts/issues/827", "groups with ::: beside a number",
        f"{GOOGLE_OLD}\nИван Орлов,Иван,,Орлов,,,,,,,,,* My Contacts ::: Институт,* ,i@example.org,Mobile,+7 900 555-01-06,,,\n",
        read("Иван Орлов", "+79005550106"),
    ),
    Case(
        "gmail-two-of-a-kind.csv", "US", "https://github.com/owncloud-archive/contacts/issues/818", "two numbers of one kind in a cell",
        f"{GOOGLE_OLD}\nOwen Cloud,Owen,,Cloud,,,,,,,,,* My Contacts,,,Home,212-555-0107 ::: 212-555-0108,Work,212-555-0109,\n",
        of("Owen Cloud", "+12125550107", "+12125550108", "+12125550109"),
    ),
    Case(
        "outlook-with-spaces.csv", "US", "https://github.com/fusionpbx/fusionpbx/issues/1871", "headings with and without a space",
        "FirstName,LastName,BusinessPhone,Home Phone,Mobile Phone\nFay,Box,212-555-0110,212-555-0111,212-555-0112\n",
        of("Fay Box", "+12125550110", "+12125550111", "+12125550112"),
    ),
    Case(
        "speedport.csv", "DE", "https://github.com/Rillke/Contact-Conversion-Wizard/issues/26", "Name beside Vorname is the family name",
        '"Name","Vorname","Rufnummer Privat","Rufnummer Arbeit","Rufnummer Mobil","Rufnummer Mobil 2","Strasse, Nr.","PLZ","Ort","Geburtstag"\n'
        '"Hafen","Hilde","030 23125113","030 23125114","0176 04069113","","Weg 1","01234","Ort","01.02.1970"\n',
        of("Hilde Hafen", "+493023125113", "+493023125114", "+4917604069113"),
    ),
    Case(
        "types-in-german.vcf", "CH", "https://github.com/hitobito/hitobito/issues/710", "TYPE=arbeit",
        card("FN:Reto Berg", "TEL;TYPE=arbeit:031 312 34 56", "TEL;TYPE=Privat:+41 79 123 45 67"), of("Reto Berg", "+41313123456", "+41791234567"),
    ),
    Case(
        "two-columns-and-two-numbers.csv", "AR", "https://github.com/instedd/verboice/issues/682", "numbers with a comma in a cell, an age beside",
        'Phone numbers;Age\n"+54 9 11 2345-6789, +54 9 11 2345-6790";10\n+54 9 11 2345-6791;20\n',
        of("(no name)", "+5491123456789", "+5491123456790") + read("(no name)", "+5491123456791"),
    ),
    Case(
        "hash-at-the-end.vcf", "US", "https://github.com/google/libphonenumber/issues/988", "the library raises an exception",
        people({"H1": "212-555-0115#", "H2": "212-555-0116#6"}), read("H1", "+12125550115", "H2", "+12125550116"),
    ),
    Case(
        "empty-extension.vcf", "AR", "https://github.com/giggsey/libphonenumber-for-php/issues/67", "ext became 398",
        people({"Ext": "+5491123456792 ext."}), read("Ext", "+5491123456792"),
    ),
    Case(
        "uris-with-pauses.vcf", "GB", "https://github.com/TrevorPilley/phone-number-parser/issues/492", "three ways to write an extension in a URI",
        card("FN:Tre P", "TEL;VALUE=uri:tel:+44-7700-900117,1234", "TEL;VALUE=uri:tel:+44-7700-900118;1234", "TEL;VALUE=uri:tel:+44-7700-900119;ext=1234"),
        of("Tre P", "+447700900117", "+447700900118", "+447700900119"),
    ),
    Case(
        "several-pins.vcf", "US", "https://github.com/catamphetamine/libphonenumber-js/issues/403", "a meeting's number and two codes",
        people({"Meet": "+12125550120\\,\\,9988776#\\,\\,654321#"}), read("Meet", "+12125550120"),
    ),
    Case(
        "german-extension-of-three.vcf", "DE", "https://github.com/TrevorPilley/phone-number-parser/issues/689", "-10 and -106 belong to the number",
        people({"D1": "030/231251-10", "D2": "030/231251-106"}), read("D1", "+493023125110", "D2", "+4930231251106"),
    ),
    Case(
        "thai-extension.vcf", "TH", "https://github.com/GlobalPhone/GlobalPhone/issues/30", "digits behind # are an extension",
        people({"T1": "02 123 4567#2405"}), read("T1", "+6621234567"),
    ),
    Case(
        "digits-too-many.vcf", "US", "https://github.com/daddyz/phonelib/issues/295", "an extension without a sign: reported, not cut",
        people({"X1": "212 555 0121 1234", "X2": "212 555 0122x1234"}), read("X1", None, "X2", "+12125550122"), 1,
    ),
    Case(
        "jfritz.xml", "DE", "https://github.com/jfritz-org/jfritz/issues/29", "JFritz' own telephone book",
        '<?xml version="1.0"?><phonebook version="1.0"><entry private="1"><firstname>Shelly</firstname><lastname>Kupfer</lastname>'
        '<company>Institut</company><phonenumbers standard="home"><number type="home">+49 30 23125123</number><number type="mobile">0176 04069123'
        "</number></phonenumbers><email>s@example.org</email></entry></phonebook>",
        of("Shelly Kupfer", "+493023125123", "+4917604069123"),
    ),
    Case(
        "yealink.xml", "GB", "https://github.com/jens-maus/carddav2fb/issues/52", "a desk phone's book with an internal address",
        "<YealinkIPPhoneDirectory><DirectoryEntry><Name>Kit Wild</Name><Telephone>07700 900124</Telephone></DirectoryEntry><DirectoryEntry>"
        "<Name>Door</Name><Telephone>sip:123@10.10.0.200</Telephone></DirectoryEntry></YealinkIPPhoneDirectory>",
        read("Kit Wild", "+447700900124", "Door", None), 1,
    ),
    Case(
        "internal-numbers.xml", "DE", "https://github.com/andig/carddav2fb/issues/249", "** is inside the FRITZ!Box",
        '<phonebooks><phonebook><contact><person><realName>Keller</realName></person><telephony><number type="intern">**610</number><number type="home">'
        "030 23125125</number></telephony></contact></phonebook></phonebooks>",
        read("Keller", "+493023125125"), 1,
    ),
    Case(
        "quickdial.xml", "DE", "https://github.com/andig/carddav2fb/issues/119", "attributes and a namespace beside the number",
        '<?xml version="1.0" encoding="iso-8859-1"?><phonebooks xmlns:d="urn:x"><phonebook owner="1" name="B"><contact><category>1</category><person>'
        '<realName>J\u00fcrgen</realName></person><telephony nid="2"><number type="home" quickdial="7" vanity="OMA" prio="1">030 23125126</number>'
        '<number type="fax_work"></number></telephony><mod_time>1610526455</mod_time></contact></phonebook></phonebooks>'.encode("iso-8859-1"),
        read("Jürgen", "+493023125126"),
    ),
    Case(
        "empty-numbers.xml", "DE", "https://github.com/berkholz/vcard2fritzXML/issues/31", "numbers that are empty elements",
        '<phonebooks><phonebook><contact><person><realName>Faxfrei</realName></person><telephony nid="3"><number id="0" type="home"/><number id="1" '
        'type="work"/></telephony><services><email id="0"></email></services><uniqueid>1</uniqueid></contact></phonebook></phonebooks>',
        read("Faxfrei", None),
    ),
    Case(
        "google-labels.vcf", "DE", "https://github.com/MicrosoftDocs/microsoft-365-docs/issues/10217", "with a label, without, and grouped",
        card("FN:Mit Label", "TEL;TYPE=WORK:030 23125128", "item1.ADR:;;;;;;", "item1.X-ABLabel:") + card("FN:Ohne Label", "item1.TEL:030 23125129", "item1.X-ABLabel:")
        + card("FN:Anderes", "TEL:030 23125130"),
        read("Mit Label", "+493023125128", "Ohne Label", "+493023125129", "Anderes", "+493023125130"),
    ),
    Case(
        "labels-in-a-cell.csv", "US", "https://github.com/chatwoot/chatwoot/pull/13313", "a quoted list of labels beside the number",
        'id,name,email,phone_number,labels\n7,Chad Woot,c@example.org,+12125550131,"customer,vip"\n', read("Chad Woot", "+12125550131"),
    ),
    Case(
        "unknown-octets.vcf", "RU", "https://github.com/lucc/khard/issues/183", "Sony's soft breaks inside a letter, and an empty line in a name",
        card(f"N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:;{qp('Автобус')}=20=", "=D0=9C=D0=BE=D1=81=D0=", "=BA=D0=B2=D0=B0;;;",
             f"FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:{qp('Автобус')}=20=", "=D0=9C=D0=BE=D1=81=D0=", "=BA=D0=B2=D0=B0=", "", "TEL;CELL:+79005550132", version="2.1"),
        read("Автобус Москва", "+79005550132"),
    ),
    Case(
        "name-without-a-colon.vcf", "RU", "https://github.com/bolorundurowb/vCardLib/issues/41", "a dot as a name; a line that lost its colon",
        card("N:;.;;;", "FN:.", version="2.1") + card("N;CHARSET=UTF-8:Точка;;;", "FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLExxxxxx", "TEL;CELL:+79005550133", version="2.1"),
        read(".", None, "Точка", "+79005550133"),
    ),
    Case(
        "encoding-8bit.vcf", "DE", "https://github.com/skarim/vobject/pull/30", "Nokia's backup declares ENCODING=8BIT",
        card("N;CHARSET=UTF-8;ENCODING=8BIT:Groß;Adam", "TEL;CELL;CHARSET=UTF-8;ENCODING=8BIT:0176 04069134", version="2.1"), read("Adam Groß", "+4917604069134"),
    ),
    Case(
        "birthday-before-the-version.vcf", "US", "https://github.com/jhermsmeier/node-vcf/issues/45", "the version does not come first",
        "BEGIN:VCARD\r\nBDAY;VALUE=DATE:1963-09-21\r\nVERSION:3.0\r\nN:Stern;Dora\r\nFN:Dora Stern\r\nTEL;TYPE=WORK,MSG:+1-212-555-0135\r\n"
        "TEL;TYPE=WORK,FAX:+1-212-555-0136\r\nEND:VCARD\r\n",
        of("Dora Stern", "+12125550135", "+12125550136"),
    ),
    Case(
        "free-call-with-dots.vcf", "IT", "https://github.com/mstilkerich/rcmcarddav/issues/482", "800.… is a number, and so is 02…",
        card("CATEGORIES:casa", "FN:Luce", "TEL;TYPE=work:800.775.300", "TEL;TYPE=work:0255550137"), of("Luce", "+39800775300", "+390255550137"),
    ),
    Case(
        "uri-with-spaces.vcf", "DE", "https://github.com/nextcloud/contacts/issues/3943", "khard writes spaces into URIs",
        card("FN:Testa Meister", "TEL;TYPE=cell;VALUE=uri:tel:+49 176 04069138", "TEL;TYPE=home;VALUE=uri:tel:+49 30 23125138", version="4.0"),
        of("Testa Meister", "+4917604069138", "+493023125138"),
    ),
    Case(
        "quote-that-never-ends.vcf", "FR", "https://github.com/jobisoft/DAV-4-TbSync/issues/304", 'TYPE="CELL without its end',
        card("FN:Mac Pi", 'TEL;TYPE="CELL:06 39 98 01 39', 'TEL;TYPE=VOICE":06 39 98 01 40'), of("Mac Pi", "+33639980139", "+33639980140"),
    ),
    Case(
        "slash-between-spaces.vcf", "DE", "https://github.com/janimo/textsecure-qml/issues/42", "+49 30 / 23 12 51 41",
        people({"Skru": "+49 30 / 23 12 51 41"}), read("Skru", "+493023125141"),
    ),
    Case(
        "00-with-spaces.vcf", "CZ", "https://github.com/vexl-it/vexl/issues/269", "four formats of one book",
        people({"V1": "+1 212-555-0142", "V2": "00 420 601 000 142", "V3": "+420601000143", "V4": "601 000 144"}),
        read("V1", "+12125550142", "V2", "+420601000142", "V3", "+420601000143", "V4", "+420601000144"),
    ),
    Case(
        "cyrillic-charset-without-encoding.vcf", "RU", "https://github.com/pinoaffe/org-vcard/issues/5", "a charset alone was skipped",
        card("N;CHARSET=UTF-8:Зайцев;Вася", "TEL;HOME:+74951234545", "TEL;FAX:+74951234546", "ADR;HOME;CHARSET=UTF-8:;;Дом;;;;", version="2.1"),
        of("Вася Зайцев", "+74951234545", "+74951234546"),
    ),
    Case(
        "number-before-the-name.vcf", "CZ", "https://github.com/kparal/esmska/issues/95", "properties in another order",
        card("TEL;CELL:+420601000147", f"N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:;{qp('Babička')}", version="2.1"), read("Babička", "+420601000147"),
    ),
    Case(
        "samsung-cuts-a-letter.vcf", "DE", "https://github.com/Rillke/Contact-Conversion-Wizard/issues/21", "the break is between two octets of ü",
        card(f"N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:{qp('Öäü')};{qp('Test')};;;", f"FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:{qp('Test Öä')}=C3=", "=BC",
             "TEL;CELL:0176 04069148", version="2.1"),
        read("Test Öäü", "+4917604069148"),
    ),
    Case(
        "leading-zeros-of-belgium.csv", "BE", "https://github.com/SpartnerNL/Laravel-Excel/issues/300", "a spreadsheet took the zero; +32 stayed",
        "Naam;GSM\nLies;0470123456\nBram;470123457\nTine;+32 470 12 34 58\n", read("Lies", "+32470123456", "Bram", "+32470123457", "Tine", "+32470123458"),
    ),
    Case(
        "exponents.csv", "GB", "https://github.com/Automattic/camptix/issues/40", "4.41E+11",
        "Attendee Name,Phone Number\nCam One,4.47701E+11\nCam Two,07700 900150\n", read("Cam One", None, "Cam Two", "+447700900150"), 1,
    ),
    Case(
        "persian-names.csv", "IR", "https://github.com/jeroendesloovere/vcard/issues/48", "digits and words of Persian",
        "نام,تلفن همراه\nسارا راد,۰۹۱۲۳۴۵۶۷۸۹\n", read("سارا راد", "+989123456789"),
    ),
    Case(
        "sogo.ldif", "US", "https://github.com/Coffey-Labs/ihasmail/issues/174", "SOGo's export: no version line, objectClass with a capital",
        "dn: cn=Jana Roe\nobjectClass: top\nobjectClass: inetOrgPerson\nobjectClass: mozillaAbPersonAlpha\ngivenName: Jana\nsn: Roe\ncn: Jana Roe\n"
        "telephoneNumber: +1-212-555-0151\nmobile: +1-212-555-0152\nmozillahomepostalcode: 10000\npostalcode: 10000\n",
        of("Jana Roe", "+12125550151", "+12125550152"),
    ),
    Case(
        "icloud.zip", "DE", "https://github.com/owncloud/contacts/issues/385", "one file for each person, in folders",
        archive({"contacts/a.vcf": card("FN:Zoe Eis", "TEL:0176 04069152"), "contacts/b/c.VCF": card("FN:Zeno Eis", "TEL:0176 04069153")}),
        read("Zoe Eis", "+4917604069152", "Zeno Eis", "+4917604069153"),
    ),
    Case(
        "mobile-in-thunderbird-finnish.csv", "FI", "https://github.com/roundcube/roundcubemail/pull/289", "Thunderbird in Finnish",
        "Etunimi,Sukunimi,Näyttönimi,Lempinimi,Ensisijainen sähköposti,Työpuhelin,Kotipuhelin,Faksin numero,Hakulaitteen numero,Matkapuhelinnumero\n"
        "Aino,Virta,Aino Virta,,a@example.org,09 1234 5653,,,,050 123 4553\n",
        of("Aino Virta", "+358912345653", "+358501234553"),
    ),
    Case(
        "groups-with-a-comma.vcf", "DE", "https://github.com/fmbiete/Z-Push-contrib/issues/77", "an escaped comma in CATEGORIES",
        card("CATEGORIES:A\\,B", "FN:John", "TEL:0176 04069154"), read("John", "+4917604069154"),
    ),
    Case(
        "owncloud-unknown-parameter.vcf", "DE", "https://github.com/owncloud-archive/contacts/issues/1130", "a line that begins with a semicolon",
        card("FN:Sandra Kopf", ';UNKNOWN="GROUP,x":y', "TEL;TYPE=CELL:0176 04069155"), read("Sandra Kopf", "+4917604069155"),
    ),
]  # fmt: skip
