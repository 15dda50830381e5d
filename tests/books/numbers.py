"""What people write into the field for a number, after public reports."""

from books.case import Case, card, of, people, read

NUMBERS = [
    Case(
        "decimals.csv", "DE", "fresh, for the kind 'a wrong number is looked up'", "017604069001.0 had one digit more",
        "Name;Mobil\nEva;017604069001.0\nUwe;017604069002\nIda;030.23125000\nOdo;17604069003,00\n",
        read("Eva", None, "Uwe", "+4917604069002", "Ida", "+493023125000", "Odo", None), (2, 2),
    ),
    Case(
        "numbers-of-contracts.vcf", "DE", "fresh, for the kind 'a wrong number is looked up'", "a customer's number is nobody's",
        people({"K1": "Kd-Nr. 4711234567", "K2": "Kundennummer: 17604069001", "K3": "Vertragsnr 0176 04069002",
                "K4": "Member No. 030 23125001", "K5": "Kunden-Hotline: 030 23125002"}),
        read("K1", None, "K2", None, "K3", None, "K4", None, "K5", "+493023125002"), (4, 4),
    ),
    Case(
        "spans.vcf", "DE", "fresh, for the kind 'a second number is lost'", "a span of extensions; a time is none",
        people({"S1": "030 231250-01 - 05", "S2": "030 231250-01 bis 05", "S3": "0176 04069001 bis 18 Uhr",
                "S4": "030 231250 - 0", "S5": "030 231250 \u2013 12"}),
        read("S1", None, "S2", "+493023125001", "S3", "+4917604069001", "S4", "+49302312500", "S5", "+493023125012"), (2, 2),
    ),
    Case(
        "old-numbers-in-front.vcf", "DE", "fresh, for the kind 'text around numbers'", "what is no longer right is not looked up",
        people({"O1": "nicht mehr aktuell: 0176 04069001", "O2": "alt: 0176 04069002", "O3": "alt 0176 04069003",
                "O4": "Old Mill Inn 030 23125004"}),
        read("O1", None, "O2", None, "O3", None, "O4", "+493023125004"), (3, 3),
    ),
    Case(
        "american-in-germany.vcf", "DE", "fresh, for the kind 'a wrong number is looked up'", "(415) 5550166 would be somebody in Buechen",
        people({"A1": "(415) 555-0166 fax", "A2": "415-555-0166", "A3": "1-212-555-0143", "A4": "17604069001", "A5": "(0415) 555-0166"}),
        read("A1", None, "A2", None, "A3", None, "A4", "+4917604069001", "A5", "+494155550166"), (3, 3),
    ),
    Case(
        "hidden-caller.vcf", "DE", "jens-maus/carddav2fb#40", "*31# hides one's own number",
        card("FN:Heiko Geheim", "TEL:*31#017604069030", "TEL:#31#03023125033"), of("Heiko Geheim", "+4917604069030", "+493023125033"),
    ),
    Case(
        "pins-behind-a-pause.vcf", "US", "code4recovery/12-step-meeting-list#86; marmelroy/PhoneNumberKit#251; 64characters/Telephone#348",
        "a * or # behind the pause belongs to the PIN",
        people({"Call A": "(212) 555-0143,,820445398#", "Call B": "+1 212 555 0144,,12345*", "Call C": "+12125550145;1*2#",
                "Call D": "212-555-0146p123w456", "Call E": "+1 (212) 555-0147#10\\,2\\,2\\;2*"}),
        read("Call A", "+12125550143", "Call B", "+12125550144", "Call C", "+12125550145", "Call D", "+12125550146",
             "Call E", "+12125550147"),
    ),
    Case(
        "pauses-escaped-twice.vcf", "DE", "nextcloud/contacts#1297", "Nextcloud escapes twice",
        card("FN:Fred Fax", 'TEL;TYPE="WORK,FAX":03023125034\\;\\;\\,\\;', "TEL:03023125035\\\\;\\\\;\\\\,\\\\;"),
        of("Fred Fax", "+493023125034", "+493023125035"),
    ),
    Case(
        "letters-for-digits.vcf", "US", "WazeDev/WME-Place-Harmonizer#42; pg-irc/pathways-frontend#537", "numbers on the keypad",
        people({"Shop": "1-800-FLOWERS", "Zoo": "+1 800 EXA-MPLE", "Diner": "1-800-THE-CRAVE", "Help": "1-888-4AL-ANON (1-888-425-2666)"}),
        read("Shop", "+18003569377", "Zoo", "+18003926753", "Diner", None, "Help", "+18884252666"), (1, 2),
    ),
    Case(
        "words-behind-a-number.vcf", "DE", "CrisisCleanup/crisiscleanup-2#399; mozilla-b2g/gaia#7691", "a remark costs nothing",
        people({"W1": "0176 04069037 (privat)", "W2": "030-23125037 Büro", "W3": "mobil: 0176 04069038",
                "W4": "+49 30 23125038 - nur abends", "W5": "0176/04069039 Vodafone"}),
        read("W1", "+4917604069037", "W2", "+493023125037", "W3", "+4917604069038", "W4", "+493023125038", "W5", "+4917604069039"),
    ),
    Case(
        "question-marks.csv", "DE", "glific/glific#4815; techa.churchofjesuschrist.org t=45965", "invisible marks that became ?",
        "Vorname;Nachname;Mobiltelefon\r\nQuirin;Quer;?+49 176 04069040?\r\nQuinta;Quer;?0176 04069041\r\n",
        read("Quirin Quer", "+4917604069040", "Quinta Quer", "+4917604069041"),
    ),
    Case(
        "invisible-marks.vcf", "DE", "glific/glific#4815; signalapp/Signal-iOS#57", "bidi marks, no-break and thin spaces, dashes",
        people({"I1": "\u202a+49 176 04069042\u202c", "I2": "\u200e0176\u00a004069043\u200f", "I3": "+49\u202f30\u200923125041\u00ad",
                "I4": "\u2060030 23125042\u2069\ufeff", "I5": "+49\u00a0(0)\u00a030\u20112312\u20135043"}),
        read("I1", "+4917604069042", "I2", "+4917604069043", "I3", "+493023125041", "I4", "+493023125042", "I5", "+493023125043"),
    ),
    Case(
        "german-spellings.vcf", "DE", "catamphetamine/libphonenumber-js#185; signalapp/Signal-iOS#1323", "(0), 00, brackets, dots",
        card("FN:Nina Neun", "TEL:+49 (0)30 23125044", "TEL:0049(0)30-23125045", "TEL:(+49) 30 23125046", "TEL:+(49)30 23125047",
             "TEL:+49(0)176/040690-44", "TEL:[+49] 30/23125048", "TEL:00 49 30 23125049", "TEL:+49.30.23125050"),
        of("Nina Neun", "+493023125044", "+493023125045", "+493023125046", "+493023125047", "+4917604069044", "+493023125048",
           "+493023125049", "+493023125050"),
    ),
    Case(
        "code-without-plus.vcf", "DE", "signalapp/Signal-iOS#786", "49… could be a German number without its zero: reported",
        people({"P1": "4917604069049", "P2": "+49 0176 04069050"}), read("P1", None, "P2", "+4917604069050"), 1,
    ),
    Case(
        "00-from-the-us.vcf", "US", "signalapp/Signal-iOS#1323", "00 is not dialled there",
        card("FN:Weg", "TEL:0049 176 04069080", "TEL:00-1-212-555-0180"), read("Weg", None), 2,
    ),
    Case(
        "two-numbers-without-a-space.vcf", "DE", "cluster-software/agent-crm#88", "the second was taken for a pause",
        people({"S1": "030 23125065;0176 04069065", "S2": "03023125066,017604069066"}),
        of("S1", "+493023125065", "+4917604069065") + of("S2", "+493023125066", "+4917604069066"),
    ),
    Case(
        "local-number-and-a-word.vcf", "US", "CrisisCleanup/crisiscleanup-2#399", "seven digits and three letters are nobody's ten digits",
        people({"L1": "555-0166 fax", "L2": "555-0167 (Mom)", "L3": "5550168 Dad"}), read("L1", None, "L2", None, "L3", None), 3,
    ),
    Case(
        "link-behind-a-number.vcf", "DE", "numbers pasted from a mail signature in Outlook", "the same number as a link",
        people({"Mila": "0176 04069069 <tel:017604069069>"}), read("Mila", "+4917604069069"),
    ),
]  # fmt: skip
