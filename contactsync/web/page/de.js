// The page in German; the keys are those of en.js.
import { hints, place, reasons } from './de-reasons.js';

export const de = (number, octets) => {
  const many = (n, one, more) => `${number(n)} ${n === 1 ? one : more}`;
  return {
    language: 'Sprache',
    title: 'Finde heraus, wer von deinen Kontakten hier ist',
    titleOf: (name) => `Finde heraus, wer von deinen Kontakten bei ${name} ist`,
    lead: 'Dein Adressbuch bleibt auf diesem Gerät. Jede Nummer wird verschleiert, bevor sie es verlässt. Der Dienst kann nicht lesen, wen du kennst: weder die, die hier sind, noch die anderen.',

    chooseTitle: 'Adressbuch auswählen',
    dropHere: 'Datei hierher ziehen',
    chooseFile: 'Datei auswählen',
    pickContacts: 'Kontakte auswählen',
    formats: 'vCard, CSV oder LDIF. Die Datei wird hier gelesen und nirgendwohin gesendet.',
    region: 'Land der Nummern ohne Ländervorwahl',
    regionNone: 'Keines: nur Nummern mit + lesen',
    regionWhy: 'Damit aus 0176… zum Beispiel +49 176… wird.',
    howTitle: 'Wie bekomme ich so eine Datei?',
    how: [
      ['iPhone, iCloud', 'Auf icloud.com „Kontakte“ öffnen, alle auswählen, „vCard exportieren“. Auf dem Telefon: Kontakte, Listen, eine Liste gedrückt halten, Exportieren.'],
      ['Android, Google', 'Auf contacts.google.com „Exportieren“ wählen, dann vCard. Auf dem Telefon: Kontakte, Optimieren und verwalten, In Datei exportieren.'],
      ['Thunderbird', 'Adressbuch, dann Extras, Exportieren, als vCard oder CSV.'],
      ['Outlook', 'Personen, Kontakte verwalten, Kontakte exportieren. Das ergibt CSV.'],
    ],
    reading: 'Dein Adressbuch wird gelesen …',

    checkTitle: 'Das wurde gelesen',
    nothingSent: 'Über deine Kontakte wurde bis jetzt nichts gesendet',
    contacts: 'Kontakte',
    identifiers: 'Nummern und Adressen',
    unread: 'nicht lesbare Einträge',
    unreadTitle: (n) => `${many(n, 'Eintrag, der', 'Einträge, die')} nicht gelesen werden ${n === 1 ? 'konnte' : 'konnten'}, und warum`,
    unreadMore: (n) => `… und ${many(n, 'weiterer', 'weitere')}`,
    willSend: (n, points) =>
      `Wenn du beginnst, werden etwa ${number(points)} verschleierte Punkte für ${many(n, 'Nummer oder Adresse', 'Nummern und Adressen')} gesendet: für die, die noch nicht nachgeschlagen wurden, für andere Schreibweisen, und zur Auffüllung, damit selbst die Anzahl nur ungefähr bekannt wird.`,
    nothingToSend: 'Es ist keine Nummer dabei, die nachgeschlagen werden kann. Wähle eine andere Datei oder ein anderes Land.',
    credential: 'Dein Zugangscode',
    credentialWhy: 'Du bekommst ihn vom Dienst. Er zeigt, dass du fragen darfst, und wird nur an den Dienst gesendet.',
    credentialMissing: 'Gib deinen Zugangscode ein. Er ist ein einziges Wort und beginnt meist mit cs_.',
    signedIn: (time) => `Du bist angemeldet, bis ${time}.`,
    keepCredential: 'Den Code in diesem Browser aufbewahren',
    start: 'Nachsehen, wer hier ist',
    otherFile: 'Andere Datei',

    workTitle: 'Es wird nachgesehen, wer hier ist',
    workWhy: 'Der Abgleich geschieht auf diesem Gerät. Du kannst jederzeit anhalten: Was fertig ist, bleibt, und beim nächsten Mal geht es dort weiter.',
    stop: 'Anhalten',
    begins: 'Vorbereitung: die ersten Nummern werden verschleiert …',
    metadata: 'Die Unterschriften des Dienstes werden geprüft …',
    downloading: (done, total) => `Das Verzeichnis wird geladen, für alle dasselbe: ${octets(done)} von ${octets(total)}`,
    evaluating: (done, total) => `Verschleierte Punkte werden nachgeschlagen: ${number(done)} von ${number(total)} sind fertig`,

    found: (n) => (n === 0 ? 'Von deinen Kontakten ist noch niemand hier' : `${many(n, 'deiner Kontakte ist', 'deiner Kontakte sind')} hier`),
    resultOf: ({ contacts, identifiers, members }) =>
      `Unter ${many(contacts, 'Kontakt', 'Kontakten')} mit ${many(identifiers, 'Nummer oder Adresse', 'Nummern und Adressen')}; der Dienst hat ${many(members, 'Mitglied', 'Mitglieder')}.`,
    noName: '(ohne Namen)',
    joined: 'neu',
    hasLeft: (n, names) => `Seit dem letzten Mal nicht mehr hier: ${names}${n > 5 ? ' …' : ''}`,
    uncovered: 'Es wurde nichts zur Auffüllung gesendet, weil das Guthaben deines Codes fast aufgebraucht ist: Der Dienst konnte sehen, dass nichts neu war.',
    unusable: (n) => `${many(n, 'Nummer wurde', 'Nummern wurden')} nicht nachgeschlagen: Diese Seite ist zu alt für diesen Teil des Verzeichnisses. Lade sie später neu.`,
    unopened: (n) => `Unter welchem Namen ${many(n, 'Kontakt', 'Kontakte')} hier bekannt ${n === 1 ? 'ist' : 'sind'}, konnte nicht gelesen werden. Die Treffer stimmen.`,
    gap: 'Seit dem letzten Mal wurde so viel veröffentlicht, dass nicht jeder Schritt geprüft werden konnte. Wenn dich das wundert, frage den Betreiber.',
    withdrawn: 'Der Dienst hat seine Schlüssel ersetzt. Wenn das niemand angekündigt hat, frage den Betreiber.',
    search: 'Suchen',
    showing: (shown, all) => (shown === all ? '' : `${number(shown)} von ${number(all)} werden gezeigt`),
    more: (n) => `${number(n)} weitere zeigen`,
    matches: 'Kontakte, die hier sind',
    exportCsv: 'Als CSV speichern',
    exportJson: 'Als JSON speichern',
    again: 'Anderes Adressbuch',

    leftTitle: 'Was dieses Gerät verlassen hat',
    leftNothing: 'Bis jetzt nichts über deine Kontakte.',
    leftSum: (points, sent, requests) =>
      points === 0
        ? `Bis jetzt nichts über deine Kontakte; ${many(requests, 'Anfrage', 'Anfragen')}.`
        : `${number(points)} verschleierte Punkte, ${octets(sent)}, in ${many(requests, 'Anfrage', 'Anfragen')}.`,
    leftWhy: 'Jede Anfrage steht hier, bevor sie gesendet wird. Wie bei jeder Website sieht der Dienst außerdem deine Netzadresse und was dein Browser über sich sagt.',
    requests: {
      metadata: 'Nach Unterschriften gefragt, die öffentlich sind',
      targets: 'Nach der Liste der öffentlichen Dateien gefragt',
      log: 'Nach einem Eintrag des öffentlichen Protokolls gefragt',
      signIn: 'Den Link, der dich hierher gebracht hat, gegen Zugang getauscht',
      account: 'Den Zugangscode gezeigt: Wie viel darf gefragt werden?',
      data: 'Einen Teil des Verzeichnisses geladen, wie alle es tun',
      evaluate: (n) => `${many(n, 'verschleierter Punkt', 'verschleierte Punkte')} gesendet, auch zur Auffüllung`,
      other: 'Eine andere Anfrage',
    },
    body: (n) => (n ? octets(n) : 'kein Inhalt'),
    learnt: (low, high) =>
      `Was der Dienst erfahren konnte: dass du ${number(low)} bis ${number(high)} neue Nummern oder Adressen nachgeschlagen hast. Nicht welche, aus welchen Ländern, oder wer gefunden wurde.`,
    learntNothing: 'Was der Dienst erfahren konnte: dass du nach Neuem gefragt und nichts Neues nachgeschlagen hast. Sonst nichts über dein Adressbuch.',

    trustTitle: 'Wem du hier vertraust',
    trustWho: (origin, same) =>
      same
        ? `Diese Seite, ihr Programm und der Schlüssel, mit dem sie Unterschriften prüft, kommen alle von ${origin}.`
        : `Diese Seite und der Schlüssel, mit dem sie Unterschriften prüft, kommen von dort, wo du sie geöffnet hast; der Dienst ist ${origin}.`,
    trustWhy: 'Wer diese Seite ausliefert, könnte sie ändern, für einen einzelnen Menschen und einen einzelnen Besuch. Das kann keine Seite verhindern. Sie schützt vor Leuten, die Daten des Dienstes stehlen oder die Leitung abhören. Wer ein Programm aus anderer Quelle möchte, nimmt das Kommando contactsync, oder diese Seite als Erweiterung.',
    trustOwn: 'Dieses Programm ist auf deinem Gerät, wie das Kommando contactsync: Der Dienst kann es nicht ändern.',
    fingerprint: 'Fingerabdruck des Schlüssels',
    fingerprintWhy: 'Vergleiche ihn mit einem, den du auf anderem Weg bekommen hast: auf Papier, von Bekannten, von der eigenen Website des Betreibers.',

    keptTitle: 'Was dieser Browser aufbewahrt',
    keptNothing: 'Nichts von diesem Dienst. Entweder bist du zum ersten Mal hier, oder es wurde entfernt: Die Seite kann das nicht unterscheiden. Sie kann dann nicht bemerken, wenn der Dienst einen älteren Stand zeigt, als du schon gesehen hast.',
    keptSome: (date, size) => `Seit dem ${date}: die nachgeschlagenen Nummern mit ihren Antworten und das Verzeichnis${size ? ` (${octets(size)})` : ''}.`,
    keptCode: 'Auch deinen Zugangscode.',
    keptFixed: 'Der Browser entfernt es nicht von selbst.',
    keptWhy: 'Damit kostet ein zweites Nachsehen fast nichts, und nur neue Nummern werden gesendet. Namen werden nicht aufbewahrt. Ein Browser, dem der Platz ausgeht, kann alles entfernen; dann wird alles noch einmal nachgeschlagen.',
    forget: 'Alles vergessen',
    forgetSure: 'Alles von diesem Dienst vergessen?',
    forgetMeans: 'Die Nummern, das Verzeichnis und dein Zugangscode werden aus diesem Browser entfernt. Beim nächsten Mal wird alles noch einmal nachgeschlagen, und das zählt zum Guthaben deines Codes.',
    forgetYes: 'Vergessen',
    forgotten: 'Vergessen. In diesem Browser ist nichts mehr von diesem Dienst.',
    persist: 'Den Browser bitten, es nicht zu entfernen',
    cancel: 'Abbrechen',
    footer: 'Keine Cookies, keine Verfolgung, nichts von Dritten. Freie Software: contactsync, Apache-Lizenz 2.0.',

    retry: 'Noch einmal versuchen',
    exactly: 'Was genau geschehen ist',
    wait: (seconds) =>
      seconds < 120 ? `Versuche es in ${many(seconds, 'Sekunde', 'Sekunden')} wieder.`
      : seconds < 7200 ? `Versuche es in ${many(Math.ceil(seconds / 60), 'Minute', 'Minuten')} wieder.`
      : `Versuche es in ${many(Math.ceil(seconds / 3600), 'Stunde', 'Stunden')} wieder.`,
    problems: {
      network: ['Der Dienst antwortet nicht', 'Prüfe, ob du online bist, und versuche es wieder. Was empfangen wurde, bleibt; es geht dort weiter.'],
      code: ['Der Zugangscode wird nicht angenommen', 'Prüfe, ob du ihn ganz kopiert hast. Wenn er stimmt, ist er vielleicht abgelaufen: Bitte den Dienst um einen neuen.'],
      link: ['Der Link, der dich hierher gebracht hat, wurde benutzt oder ist zu alt', 'Geh dahin zurück, wo du ihn angeklickt hast, und öffne die Seite von dort noch einmal. Ein Link gilt einmal, für einige Minuten.'],
      audience: ['Dieser Zugangscode ist für etwas anderes', 'Mit ihm kann man keine Personen nachschlagen. Bitte den Dienst um einen passenden.'],
      quota: ['Das Guthaben deines Codes ist aufgebraucht', 'Mit einem Code kann nach einer begrenzten Zahl von Kontakten gefragt werden. Was beantwortet wurde, bleibt; es geht dort weiter.'],
      busy: ['Der Dienst ist ausgelastet', 'Versuche es in ein paar Minuten wieder. Was beantwortet wurde, bleibt.'],
      unpublished: ['Der Dienst hat sein Verzeichnis noch nicht veröffentlicht', 'Versuche es später wieder, oder frage den Betreiber.'],
      refused: ['Der Dienst hat abgelehnt', 'Versuche es später wieder. Wenn es wieder geschieht, sage dem Betreiber, was unten steht.'],
      broken: ['Der Dienst hat einen Fehler', 'Versuche es später wieder. Wenn es wieder geschieht, sage dem Betreiber, was unten steht.'],
      signature: ['Die Unterschriften des Dienstes sind ungültig', 'Was er gesendet hat, wurde nicht verwendet. Mache nicht weiter: Frage den Betreiber auf einem anderen Weg als über diese Seite, und sage, was unten steht.'],
      expired: ['Die Unterschriften des Dienstes sind abgelaufen', 'Prüfe Datum und Uhrzeit dieses Geräts. Wenn sie stimmen, muss der Dienst neu unterschreiben: Sage es dem Betreiber.'],
      history: ['Der Dienst zeigt eine andere Vergangenheit als zuvor', 'Mache nicht weiter. Was dieser Browser aufbewahrt, ist der Beweis: Lass es nicht vergessen, und frage den Betreiber auf einem anderen Weg als über diese Seite.'],
      file: ['Eine Datei des Verzeichnisses wurde unterwegs verändert', 'Sie wurde nicht verwendet. Versuche es wieder: Sie wird dann neu geladen. Wenn es wieder geschieht, sage es dem Betreiber.'],
      proof: ['Der Dienst hat mit einem anderen Schlüssel geantwortet, als er veröffentlicht hat', 'Die Antwort wurde nicht verwendet. Wenn es wieder geschieht, mache nicht weiter, und sage es dem Betreiber.'],
      reply: ['Der Dienst hat etwas gesendet, das diese Seite nicht versteht', 'Lade diese Seite neu. Wenn es wieder geschieht, sage dem Betreiber, was unten steht.'],
      root: ['Diese Seite hat einen anderen Schlüssel als beim letzten Mal', 'Jemand hat den Schlüssel ausgetauscht, mit dem Unterschriften geprüft werden. Mache nur weiter, wenn der Betreiber den neuen Fingerabdruck auf anderem Weg bestätigt; lass dann unten alles vergessen, und beginne von vorn.'],
      large: ['Der Download wäre zu groß', 'Es wurde nichts geladen. Nimm das Kommando contactsync, das Teile laden kann.'],
      locked: ['Es läuft schon in einem anderen Tab', 'Warte, bis es dort fertig ist, oder schließe jenen Tab.'],
      room: ['Auf diesem Gerät ist kein Platz mehr für das Verzeichnis', 'Schaffe etwas Platz, und versuche es wieder.'],
      storage: ['Dieser Browser lässt die Seite nichts aufbewahren', 'Erlaube dieser Website, Daten zu speichern, oder verlasse das private Fenster.'],
      state: ['Was dieser Browser aufbewahrt, ist beschädigt', 'Drücke unten „Alles vergessen“, und beginne von vorn.'],
      input: ['Das kann nicht verwendet werden', 'Wähle eine andere Datei oder ein anderes Land.'],
      insecure: ['Diese Seite wurde nicht sicher geöffnet', 'Öffne sie mit https:// am Anfang. Sonst darf kein Zugangscode gesendet werden.'],
      setup: ['Diese Seite ist nicht eingerichtet', 'Der Betreiber muss das berichtigen: service.json ist nicht zu verwenden.'],
      unreadable: ['Die Datei konnte nicht geöffnet werden', 'Wähle sie noch einmal aus. Liegt sie auf einem anderen Gerät oder in einer Cloud, speichere sie zuerst hier.'],
      fault: ['In dieser Seite ist etwas schiefgegangen', 'Lade sie neu. Wenn es wieder geschieht, melde, was unten steht.'],
    },
    reasons,
    hints,
    place,
  };
};
