"""vCards as programs write them, after public reports. Numbers are fictional."""

from books.case import Case, card, of, people, read

CARDS = [
    Case(
        "thunderbird-21-bare-quoted-printable.vcf", "DE", "ubports/ubuntu-touch#868; SimpleMobileTools/Simple-Contacts#62",
        "Thunderbird before 102 wrote small letters, and quoted-printable without ENCODING=",
        "begin:vcard\r\nfn;quoted-printable:G=C3=BCnter B=C3=B6hm\r\nn;quoted-printable:B=C3=B6hm;G=C3=BCnter\r\n"
        "tel;work:030 23125001\r\ntel;cell:0176 04069002\r\nversion:2.1\r\nend:vcard\r\n\r\n",
        of("Günter Böhm", "+493023125001", "+4917604069002"),
    ),
    Case(
        "soft-break-and-fold.vcf", "RU", "mangstadt/ez-vcard#80", "a soft break inside a letter, and a fold behind it",
        card("FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:=D0=9D=D0=B8=D0=BD=D0=", " =B0=20=D0=9B=D0=B5=D0=B2",
             "TEL;TYPE=CELL:+7 900 555-00-11", version="2.1"),
        read("Нина Лев", "+79005550011"),
    ),
    Case(
        "groups-of-apple-and-google.vcf", "DE", "pinoaffe/org-vcard#42; lucc/khard#70; cozy/cozy-sync#133",
        "grouped properties of iCloud, Google, Nextcloud and DAVx5",
        card("N:Sommer;Rut;;;", "FN:Rut Sommer", "TEL;type=CELL;type=VOICE;type=pref:0176 04069005", "item1.TEL:030 23125006",
             "item1.X-ABLabel:_$!<Other>!$_", "item2.X-ABLabel:", "ITEMTEL77.TEL:+49 30 23125007",
             "7QX2.TEL;TYPE=pref:+49 30 23125008", "customclient1.TEL:030 23125009"),
        of("Rut Sommer", "+4917604069005", "+493023125006", "+493023125007", "+493023125008", "+493023125009"),
    ),
    Case(
        "numbers-as-uris.vcf", "DE", "nextcloud/contacts#4357, #1899; zxing/zxing#863", "tel: with parameters, context, percent signs",
        card("FN:Ute Link", 'TEL;PREF=1;VALUE="uri";TYPE="voice,home":tel:+49-30-23125010;ext=5102',
             "TEL;VALUE=uri;TYPE=cell:tel:+49-176-04069007", "TEL;TYPE=CELL;VALUE=URI:tel:%2B49%2030%2023125011",
             "TEL;VALUE=uri:tel:23125012;phone-context=+4930", "TEL;VALUE=uri:TEL:+49(30)23125013", version="4.0")
        + card("FN:Uwe Link", 'TEL;TYPE="VOICE,HOME":tel:+493023125014'),
        of("Ute Link", "+493023125010", "+4917604069007", "+493023125011", "+493023125012", "+493023125013")
        + read("Uwe Link", "+493023125014"),
    ),
    Case(
        "odd-parameters.vcf", "DE", "carlos22/carddav2fb#33", "odd parameters must not cost the number",
        card("FN:Otto Seltsam", "TEL;TYPE=:030 23125020", 'TEL;TYPE="":030 23125021', "TEL;:030 23125022",
             "TEL;TYPE=PREF\\,CELL:030 23125023", 'TEL;TYPE="WORK,VOICE";VALUE=URI:030 23125025', "TEL;HOME;TYPE=:030 23125026",
             "TEL;type=HOME,:030 23125027", "TEL ;TYPE=home : 030 23125028", 'TEL;TYPE="home:030 23125029'),
        of("Otto Seltsam", "+493023125020", "+493023125021", "+493023125022", "+493023125023", "+493023125025",
           "+493023125026", "+493023125027", "+493023125028", "+493023125029"),
    ),
    Case(
        "marks-between-cards.vcf", "DE", "cozy/cozy-contacts-v2#260", "files with a byte order mark were put together",
        "".join("\ufeff" + card(f"FN:Ada {c}", f"TEL:0176 0406901{i}") for i, c in ((1, "X"), (2, "Y"), (3, "Z"))),
        read("Ada X", "+4917604069011", "Ada Y", "+4917604069012", "Ada Z", "+4917604069013"),
    ),
    Case(
        "utf16-with-mark.vcf", "DE", "roundcube/roundcubemail utf-16_sample.vcf", "old exports of Apple and Nokia",
        card("FN:Öle Å", "TEL:0176 04069015").encode("utf-16"), read("Öle Å", "+4917604069015"),
    ),
    Case(
        "utf16-cyrillic-without-mark.vcf", "RU", "FolkerKinzel/VCards v3Utf16Bom.vcf", "UTF-16 without a mark and with few ASCII letters",
        card("NOTE:" + "щ" * 70, "FN:Фёкла Юнг", "TEL:+7 900 555-00-15").encode("utf-16-le"), read("Фёкла Юнг", "+79005550015"),
    ),
    Case(
        "shift-jis-declared.vcf", "JP", "AOSP v21_japanese_2.vcf", "the second byte of 表 is a backslash",
        card("N;CHARSET=SHIFT_JIS:表;良子;;;", "SOUND;X-IRMC-N;CHARSET=SHIFT_JIS:;;;;", "TEL;CELL;VOICE:090-1234-5678",
             version="2.1").encode("shift_jis"),
        read("良子 表", "+819012345678"),
    ),
    Case(
        "shift-jis-undeclared.vcf", "JP", "roundcube/roundcubemail#9456", "phones of docomo and au; full-width digits",
        card("N:高橋;健太", "TEL;CELL:０９０－１２３４－５６７８", version="2.1").encode("cp932"), read("健太 高橋", "+819012345678"),
    ),
    Case(
        "cp1251-undeclared.vcf", "RU", "FolkerKinzel/VCards MultiAnsiFilterTests", "an export of a Russian Windows",
        card("FN:Юлия Жукова", "TEL;CELL:8 900 555-00-21", version="2.1").encode("cp1251"), read("Юлия Жукова", "+79005550021"),
    ),
    Case(
        "base64-names.vcf", "DE", "RFC 2426 section 2.4.1", "names in base64",
        card("FN;ENCODING=b:TGVhIMOWZHRs", "TEL:0176 04069022")
        + card("N;CHARSET=UTF-8;ENCODING=BASE64:w5ZkdGw7TGlhOzs7==", "TEL;CELL:0176 04069023", version="2.1"),
        read("Lea Ödtl", "+4917604069022", "Lia Ödtl", "+4917604069023"),
    ),
    Case(
        "line-breaks-in-a-note.vcf", "DE", "owncloud-archive/contacts#851", "a line of a note looks like a property",
        card("FN:Nora Notiz", "NOTE:eins", "Tel: 030 23125031 (alt)", "zwei und drei", "TEL;CELL:0176 04069027", version="2.1"),
        read("Nora Notiz", "+4917604069027"), (0, 1),
    ),
    Case(
        "irmc-sound.vcf", "DE", "SimpleMobileTools/Simple-Contacts#1047", "an empty SOUND as Japanese phones write it",
        card("N:Laut;Lea;;;", "FN:Lea Laut", "SOUND;X-IRMC-N:;;;;", "TEL;VOICE:0176 04069029", "TEL;X-CELL;PREF:030 23125032", version="2.1"),
        of("Lea Laut", "+4917604069029", "+493023125032"),
    ),
    Case(
        "made-up-property.vcf", "SE", "nextcloud/contacts#224", "the number is in a property that vCard does not have",
        card("FN:Siri Sol", "NAME:Siri Sol", "PHONE.WORK:070-174 06 06", version="4.0") + card("FN:Ulf Ek", "TEL:070-174 06 07", version="4.0"),
        read("Siri Sol", None, "Ulf Ek", "+46701740607"), 1,
    ),
    Case(
        "cards-in-a-book-object.vcf", "DE", "lucc/khard#265", "the storage of an old Radicale",
        "BEGIN:VADDRESSBOOK\r\n" + people({"Vita Rad": "0176 04069031", "Veit Rad": "0176 04069032"}) + "END:VADDRESSBOOK\r\n",
        read("Vita Rad", "+4917604069031", "Veit Rad", "+4917604069032"),
    ),
    Case(
        "card-in-a-card.vcf", "DE", "AOSP v21_nest.vcf", "a card inside another, without AGENT",
        "BEGIN:VCARD\r\nVERSION:2.1\r\nN:Gross;Greta\r\n" + card("N:Klein;Kai", "TEL:0176 04069035", version="2.1")
        + "TEL:0176 04069036\r\nEND:VCARD\r\n",
        read("Greta Gross", "+4917604069036", "Kai Klein", "+4917604069035"),
    ),
    Case(
        "cards-without-a-full-name.vcf", "DE", "cozy/cozy-contacts-v2#260; broekema41/obsidian-vcf-contacts#90; nextcloud/contacts#490",
        "N, ORG, EMAIL and NICKNAME stand for it",
        card("N:Ohne;Olga;;;", "TEL:0176 04069056") + card("FN:", "N:;;;;", "ORG:Bäckerei Süß;Laden", "TEL:0176 04069057")
        + card("N:;;;;", "EMAIL:x@example.org", "TEL:0176 04069058") + card("FN:", "NICKNAME:Fuchs", "TEL:0176 04069059")
        + card("TEL:0176 04069070"),
        read("Olga Ohne", "+4917604069056", "Bäckerei Süß, Laden", "+4917604069057", "x@example.org", "+4917604069058",
             "Fuchs", "+4917604069059", "(no name)", "+4917604069070"),
    ),
    Case(
        "names-of-all-kinds.vcf", "DE", "bethropolis/kcd#38", "emoji, right to left, long, escaped",
        people({"👨‍👩‍👦 Papa ❤️": "0176 04069051", "\u202eليلى\u202c, תמר": "0176 04069052", "y" * 300: "0176 04069053",
                "E\\, F\\; G \\\\ H\\nI": "0176 04069054"}),
        read("👨‍👩‍👦 Papa ❤️", "+4917604069051", "ليلى, תמר", "+4917604069052", "y" * 199 + "…", "+4917604069053",
             "E, F; G \\ H I", "+4917604069054"),
    ),
    Case(
        "spaces-around-markers.vcf", "DE", "mangstadt/ez-vcard#1", "spaces in BEGIN and behind END",
        "BEGIN: vcard\r\nVERSION:3.0\r\nFN:Lili Luecke\r\nTEL:0176 04069073\r\nEND:VCARD  \r\n", read("Lili Luecke", "+4917604069073"),
    ),
    Case(
        "lg-charset-of-a-number.vcf", "GR", "botsikas.blogspot.com 2010/11", "LG wrote a charset for the number too",
        card("N;ENCODING=QUOTED-PRINTABLE;CHARSET=UTF-8:;=CE=96=CF=89=CE=AE", "TEL;HOME;CELL;CHARSET=UTF-8:690 000 0001", version="2.1"),
        read("Ζωή", "+306900000001"),
    ),
    Case(
        "fold-inside-a-letter.vcf", "DE", "jeroendesloovere/vcard#90, #95; icalendar/icalendar#158", "folding that cuts UTF-8",
        b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:B\xc3\r\n \xb6rge Sch\xc3\xa4\r\n\tr\r\nTEL:0176\r\n  04069077\r\nEND:VCARD\r\n",
        read("Börge Schär", "+4917604069077"),
    ),
    Case(
        "broken-line-in-a-card.vcf", "DE", "mstilkerich/rcmcarddav#78; lucc/khard#9; geier/pycarddav#91", "one line costs itself",
        card("FN:Karl Riss", "BDAY:1987-04-13", ';="Mobile Phone: +000000":', "X-MESSAGING/XMPP-ALL:a@example.org",
             "TEL;TYPE=CELL;TYPE=CELL:0176 04069081"),
        read("Karl Riss", "+4917604069081"),
    ),
    Case(
        "21-folded-like-30.vcf", "DE", "mangstadt/ez-vcard#44", "the fold is inside a word",
        card("FN:Friederike Amal", " ia", "TEL;CELL:0176 04069086", version="2.1"), read("Friederike Amalia", "+4917604069086"),
    ),
    Case(
        "charset-names.vcf", "KR", "AOSP, Nokia, Motorola: CHARSET in many spellings", "names that Python does not know",
        "".join(
            card(f"FN;CHARSET={name};ENCODING=QUOTED-PRINTABLE:" + "".join(f"={b:02X}" for b in text.encode(codec)),
                 f"TEL:010-0000-000{i}", version="2.1")
            for i, (name, text, codec) in enumerate([
                ("KS_C_5601-1987", "박하나", "cp949"), ("EUC-KR", "박둘", "cp949"), ("GB2312", "王伟", "gbk"), ("Big5", "陳明", "big5"),
                ("ISO-2022-JP", "中田", "iso2022_jp"), ("windows-31j", "髙木", "cp932"), ("UTF8", "박셋", "utf-8"),
                ("x-sjis", "鈴江", "cp932"), ("x-gbk", "李丽", "gbk"), ("CP-949", "박넷", "cp949")])
        ),
        read(*(part for i, name in enumerate(["박하나", "박둘", "王伟", "陳明", "中田", "髙木", "박셋", "鈴江", "李丽", "박넷"])
               for part in (name, f"+82100000000{i}"))),
    ),
    Case(
        "line-ends-doubled.vcf", "DE", "jeroendesloovere/vcard#217", "a wrong transfer made CR CR LF",
        card("FN:Conny Doppel", "NOTE:a", "TEL:0176 04069006", end="\r\r\n"), read("Conny Doppel", "+4917604069006"),
    ),
]  # fmt: skip
