"""Tables of programs and of people, after public reports."""

from books.case import Case, of, read

GOOGLE = (
    "First Name,Middle Name,Last Name,Phonetic First Name,Phonetic Middle Name,Phonetic Last Name,Name Prefix,Name Suffix,"
    "Nickname,File As,Organization Name,Organization Title,Organization Department,Birthday,Notes,Photo,Labels,"
    "E-mail 1 - Label,E-mail 1 - Value,Phone 1 - Label,Phone 1 - Value,Phone 2 - Label,Phone 2 - Value"
)  # fmt: skip
OUTLOOK_DE = (
    "Anrede;Vorname;Weitere Vornamen;Nachname;Suffix;Firma;Telefon Assistent;Fax geschäftlich;Telefon geschäftlich;"
    "Telefon geschäftlich 2;Rückmeldung;Autotelefon;Telefon Firma;Fax privat;Telefon (privat);Telefon (privat 2);ISDN;"
    "Mobiltelefon;Weiteres Fax;E-Mail-Adresse;Notizen"
)
NOKIA = ["Title", "First name", "Middle name", "Last name", "Suffix", "Job title", "Company", "Birthday", "SIP address", "Push to talk",
         "Share view", "User ID", "Notes", "General mobile", "General phone", "General e-mail", "General fax", "Home mobile",
         "Home phone", "Home e-mail"]  # fmt: skip

TABLES = [
    Case(
        "google-since-2024.csv", "DE", "nine public repositories with this header", "two numbers in a cell, a company without a name",
        "\ufeff" + GOOGLE + '\r\nIda,,Jung,,,,,,,,,,,,"eins\n""zwei""",,* myContacts,* ,i@example.org,Mobile,0176 04069001 ::: 030 23125001,,\r\n'
        ",,,,,,,,,,Werk Jung,,,,,,* myContacts,,,Work,030 23125002,* Other,+49 30 23125003\r\n",
        of("Ida Jung", "+4917604069001", "+493023125001") + of("Werk Jung", "+493023125002", "+493023125003"),
    ),
    Case(
        "google-old-utf16.csv", "DE", "Google's export for Outlook was UTF-16", "UTF-16 with a mark",
        "Name,Given Name,Family Name,Phone 1 - Type,Phone 1 - Value\r\nÜlo Ä,Ülo,Ä,Mobile,0176 04069072\r\n".encode("utf-16"),
        read("Ülo Ä", "+4917604069072"),
    ),
    Case(
        "outlook-german.csv", "DE", "tine20/tine20#5139; owncloud-archive/contacts#901; thomascube/vcfconvert#2", "ANSI, semicolons",
        (OUTLOOK_DE + '\r\n;Björn;;Groß;;;030 23125099;030 23125001;030/23125002;;;;;;030 23125003;;;0176-04069074;;b@example.org;"a\r\nb"\r\n').encode("cp1252"),
        of("Björn Groß", "+493023125001", "+493023125002", "+493023125003", "+4917604069074"),
    ),
    Case(
        "outlook-french.csv", "FR", "roundcube/roundcubemail#7041", "Télécopie is a fax",
        ("Titre,Prénom,Deuxième prénom,Nom,Société,Téléphone de l'assistant(e),Télécopie (bureau),Téléphone (bureau),Téléphone 2 (bureau),"
         "Rappel,Téléphone (domicile),Tél. mobile,Adresse de messagerie\r\n"
         ",Noël,,Lefèvre,,01 99 00 00 99,01 99 00 00 01,01 99 00 00 02,,,01 99 00 00 03,06 39 98 00 75,n@example.org\r\n").encode("cp1252"),
        of("Noël Lefèvre", "+33199000001", "+33199000002", "+33199000003", "+33639980075"),
    ),
    Case(
        "outlook-japanese.csv", "JP", "roundcube/roundcubemail#9456; RainLoop/rainloop-webmail#960", "Shift_JIS; the family name first",
        ("姓,名,会社名,会社電話,自宅電話,携帯電話,電子メール アドレス\r\n高橋,直子,,03-1234-5678,,090-1234-5676,t@example.org\r\n"
         "中村,健,,03-1234-5679,,090-1234-5677,\r\n小林,真由,,,,090-1234-5675,\r\n").encode("cp932"),
        of("高橋 直子", "+81312345678", "+819012345676") + of("中村 健", "+81312345679", "+819012345677") + read("小林 真由", "+819012345675"),
    ),
    Case(
        "outlook-italian.csv", "IT", "roundcube/roundcubemail it_IT/csv2vcard.inc", "Nome and Cognome",
        "Nome,Cognome,Società,Telefono dell'assistente,Fax di Lavoro,Telefono di Lavoro,Telefono di casa,Telefono Mobile,Numero cellulare\n"
        "Elsa,Bianchi,,06 5555 0099,,06 5555 0001,,312 000 0078,\n",
        of("Elsa Bianchi", "+390655550001", "+393120000078"),
    ),
    Case(
        "outlook-russian.csv", "RU", "roundcube/roundcubemail ru_RU/csv2vcard.inc", "cp1251; a column with one number in it",
        ("Имя,Фамилия,Рабочий телефон,Домашний телефон,Телефон переносной,Адрес эл. почты\r\nИгорь,Лаптев,8 495 123-45-80,,8 900 555-00-80,\r\n"
         "Вера,Сова,8 495 123-45-82,8 495 123-45-81,8 900 555-00-81,\r\nЮля,Ягода,,,8 900 555-00-82,\r\n").encode("cp1251"),
        of("Игорь Лаптев", "+74951234580", "+79005550080") + of("Вера Сова", "+74951234582", "+74951234581", "+79005550081")
        + read("Юля Ягода", "+79005550082"),
    ),
    Case(
        "outlook-dutch.csv", "NL", "Outlook in Dutch", "Voornaam and Achternaam",
        "Voornaam,Achternaam,Telefoon op werk,Telefoon thuis,Mobiele telefoon,E-mailadres\nSanne,Bos,020 123 4582,,06 12345682,s@example.org\n"
        "Daan,Bos,020 123 4583,,06 12345683,\nPim,Vos,,,06 12345684,\n",
        of("Sanne Bos", "+31201234582", "+31612345682") + of("Daan Bos", "+31201234583", "+31612345683") + read("Pim Vos", "+31612345684"),
    ),
    Case(
        "thunderbird-german.csv", "DE", "thunderbird/thunderbird-l10n importMsgs.properties", "Tel. dienstlich, Mobil-Tel.-Nr.",
        "Vorname,Nachname,Anzeigename,Spitzname,Primäre E-Mail-Adresse,Messenger-Name,Tel. dienstlich,Tel. privat,Fax-Nummer,Pager-Nummer,"
        "Mobil-Tel.-Nr.\nRike,Rot,Rike Rot,,r@example.org,,030 23125004,030 23125005,,,0176 04069085\n",
        of("Rike Rot", "+493023125004", "+493023125005", "+4917604069085"),
    ),
    Case(
        "yahoo.csv", "US", "owncloud/contacts#246; lavab/web#663", "headings Home, Work and Other",
        '"First","Middle","Last","Nickname","Email","Category","Messenger ID","Home","Work","Pager","Fax","Mobile","Other","Yahoo! Phone"\n'
        '"Yola","","Hay","","y@example.org","","","212-555-0186","212-555-0187","","","212-555-0188","212-555-0189",""\n',
        of("Yola Hay", "+12125550186", "+12125550187", "+12125550188", "+12125550189"),
    ),
    Case(
        "nokia-pc-suite.csv", "CZ", "bvr.github.io/2010/12/26/csv-for-nokia-pcsuite", "UTF-16, all fields quoted",
        "\n".join(",".join(f'"{cell}"' for cell in row) for row in (
            NOKIA, ["", "Jitka", "", "Nová", *[""] * 9, "+420601000092", "", "", "", "", "+420 224 000 092", ""])).encode("utf-16"),
        of("Jitka Nová", "+420601000092", "+420224000092"),
    ),
    Case(
        "title-above-the-header.csv", "DE", "lists of associations", "a title and a date stand above",
        "Mitglieder Ruderklub;;\nStand 01.09.2025;;\nName;Telefon;Ort\nRolf Ruder;0176 04069091;Bonn\nRita Ruder;0176 04069092;Köln\n"
        "Rudi Ruder;030 23125091;Berlin\n",
        read("Rolf Ruder", "+4917604069091", "Rita Ruder", "+4917604069092", "Rudi Ruder", "+493023125091"),
    ),
    Case(
        "what-excel-does.csv", "DE", "Automattic/camptix#40; mautic/mautic#890; SpartnerNL/Laravel-Excel#300, #1789",
        "read what can be read, report the rest",
        "Name;Telefon\nE1;17604069093\nE2;4,91760406909E+12\nE3;=\"0176 04069094\"\nE4;'017604069095\nE5;4917604069096\nE6;17604069097.0\n",
        read("E1", "+4917604069093", "E2", None, "E3", "+4917604069094", "E4", "+4917604069095", "E5", None, "E6", None), 3,
    ),
    Case(
        "contact-no.csv", "IN", "lists in India", "Sr No is a number of the row",
        "Sr No,Student Name,Contact No.,Parent's Mob. No\n1,Meena Iyer,98765 43294,98765 43295\n2,Arjun Sen,98765 43296,98765 43297\n"
        "3,Lata Bose,98765 43298,\n",
        of("Meena Iyer", "+919876543294", "+919876543295") + of("Arjun Sen", "+919876543296", "+919876543297")
        + read("Lata Bose", "+919876543298"),
    ),
    Case(
        "japanese-list.csv", "JP", "roundcube/roundcubemail#9456", "the usual header 電話番号 in Shift_JIS",
        "名前,電話番号\n中村 愛,090-1234-5696\n吉田 実,090-1234-5697\n林 健,090-1234-5698\n".encode("cp932"),
        read("中村 愛", "+819012345696", "吉田 実", "+819012345697", "林 健", "+819012345698"),
    ),
    Case(
        "number-of-a-member.csv", "DE", "lists of clubs", "Nummer beside Telefon is no telephone number",
        "Nummer;Name;Telefon\n1004711;Mona Maler;0176 04069097\n1004712;Max Maler;030 23125097\n",
        read("Mona Maler", "+4917604069097", "Max Maler", "+493023125097"),
    ),
    Case(
        "numbered-headings.csv", "DE", "exports that number their columns", "Phone1, Phone2",
        "Name,Mobile,Phone1,Phone2\nRolf Rund,0176 04069008,030 23125108,030 23125109\nRosa Rund,0176 04069009,030 23125110,\n",
        of("Rolf Rund", "+4917604069008", "+493023125108", "+493023125109") + of("Rosa Rund", "+4917604069009", "+493023125110"),
    ),
]  # fmt: skip
