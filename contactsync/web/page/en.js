// The page in English. Texts that depend on figures are functions; `number` writes a figure as the language does.
export const en = (number, octets) => {
  const many = (n, one, more) => `${number(n)} ${n === 1 ? one : more}`;
  return {
    language: 'Language',
    title: 'Find out which of your contacts are here',
    titleOf: (name) => `Find out which of your contacts are on ${name}`,
    lead: 'Your address book stays on this device. Each number is scrambled before it leaves, so that the service cannot read whom you know, neither those who are here nor those who are not.',

    chooseTitle: 'Choose your address book',
    dropHere: 'Drop a file here',
    chooseFile: 'Choose a file',
    pickContacts: 'Pick contacts',
    formats: 'vCard, CSV or LDIF. It is read here and sent nowhere.',
    region: 'Country of numbers that have no country code',
    regionNone: 'None: read only numbers with +',
    regionWhy: 'So that 0176… becomes +49 176…, for example.',
    howTitle: 'How do I get such a file?',
    how: [
      ['iPhone, iCloud', 'On icloud.com open Contacts, select all, then Export vCard. On the phone: Contacts, Lists, hold a list, Export.'],
      ['Android, Google', 'On contacts.google.com choose Export, then vCard. On the phone: Contacts, Fix & manage, Export to file.'],
      ['Thunderbird', 'Address Book, then Tools, Export, as vCard or CSV.'],
      ['Outlook', 'People, Manage contacts, Export contacts. You get CSV.'],
    ],
    reading: 'Reading your address book …',

    checkTitle: 'What was read',
    nothingSent: 'Nothing about your contacts has been sent so far',
    contacts: 'contacts',
    identifiers: 'numbers and addresses',
    unread: 'entries not read',
    unreadTitle: (n) => `${many(n, 'entry', 'entries')} that could not be read, and why`,
    unreadMore: (n) => `… and ${many(n, 'more', 'more')}`,
    willSend: (n, points) =>
      `When you start, about ${number(points)} scrambled points are sent for ${many(n, 'number or address', 'numbers and addresses')}: for those that were not looked up before, for other ways to write them, and padding, so that even their count is only roughly known.`,
    nothingToSend: 'There is no number in it that can be looked up. Choose another file, or another country above it.',
    credential: 'Your access code',
    credentialWhy: 'The service gives it to you. It shows that you may ask, and is sent to the service alone.',
    credentialMissing: 'Enter your access code. It is one word, and begins with cs_ as a rule.',
    signedIn: (time) => `You are signed in, until ${time}.`,
    keepCredential: 'Keep the code in this browser',
    start: 'See who is here',
    otherFile: 'Another file',

    workTitle: 'Looking who is here',
    workWhy: 'The matching is done on this device. You may stop at any time: what is done is kept, and continues next time.',
    stop: 'Stop',
    begins: 'Preparing: scrambling the first numbers …',
    metadata: 'Checking the signatures of the service …',
    downloading: (done, total) => `Downloading the directory, the same for everyone: ${octets(done)} of ${octets(total)}`,
    evaluating: (done, total) => `Looking up scrambled points: ${number(done)} of ${number(total)} are done`,

    found: (n) => (n === 0 ? 'None of your contacts is here yet' : `${many(n, 'of your contacts is', 'of your contacts are')} here`),
    resultOf: ({ contacts, identifiers, members }) =>
      `Among ${many(contacts, 'contact', 'contacts')} with ${many(identifiers, 'number or address', 'numbers and addresses')}; the service has ${many(members, 'member', 'members')}.`,
    noName: '(no name)',
    joined: 'new',
    hasLeft: (n, names) => `No longer here since last time: ${names}${n > 5 ? ' …' : ''}`,
    uncovered: 'No padding was sent, because the budget of your code is nearly used up: the service could see that nothing was new.',
    unusable: (n) => `${many(n, 'number was', 'numbers were')} not looked up: this page is too old for that part of the directory. Load it again later.`,
    unopened: (n) => `The names under which ${many(n, 'contact is', 'contacts are')} known here could not be read. The matches are right.`,
    gap: 'So much was published since the last time that the page could not check every step of it. If that surprises you, ask the operator.',
    withdrawn: 'The service has replaced its keys. If nobody announced that, ask the operator.',
    search: 'Search',
    showing: (shown, all) => (shown === all ? '' : `${number(shown)} of ${number(all)} are shown`),
    more: (n) => `Show ${number(n)} more`,
    matches: 'Contacts who are here',
    exportCsv: 'Save as CSV',
    exportJson: 'Save as JSON',
    again: 'Another address book',

    leftTitle: 'What left this device',
    leftNothing: 'Nothing about your contacts so far.',
    leftSum: (points, sent, requests) =>
      points === 0
        ? `Nothing about your contacts so far; ${many(requests, 'request', 'requests')}.`
        : `${number(points)} scrambled points, ${octets(sent)}, in ${many(requests, 'request', 'requests')}.`,
    leftWhy: 'Every request is listed before it is sent. As with any website, the service also sees your network address, and what your browser says of itself.',
    requests: {
      metadata: 'Asked for signatures, which are public',
      targets: 'Asked for the list of public files',
      log: 'Asked for an entry of the public log',
      signIn: 'Exchanged the link that brought you here for access',
      account: 'Showed the access code: how much may be asked?',
      data: 'Downloaded a part of the directory, as everyone does',
      evaluate: (n) => `Sent ${many(n, 'scrambled point', 'scrambled points')}, padding among them`,
      other: 'Another request',
    },
    body: (n) => (n ? octets(n) : 'no content'),
    learnt: (low, high) =>
      `What the service could learn: that you looked up ${number(low)} to ${number(high)} new numbers or addresses. Not which, from which countries, or who matched.`,
    learntNothing: 'What the service could learn: that you asked for news and had nothing new to look up. Nothing else about your address book.',

    trustTitle: 'Whom you trust here',
    trustWho: (origin, same) =>
      same
        ? `This page, its program and the key that it checks signatures with all come from ${origin}.`
        : `This page and the key that it checks signatures with come from where you opened it; the service is ${origin}.`,
    trustWhy: 'Whoever serves this page could change it, for one person and one visit, and no page can prevent that. It protects against who steals the service’s data or reads the traffic. If you want a program from elsewhere, use the contactsync command, or this page as an extension.',
    trustOwn: 'This program is on your device, as the contactsync command is: the service cannot change it.',
    fingerprint: 'Fingerprint of the key',
    fingerprintWhy: 'Compare it with one that you got in another way: on paper, from a friend, from the operator’s own site.',

    keptTitle: 'What this browser keeps',
    keptNothing: 'Nothing of this service. Either you are here for the first time, or it was removed: the page cannot tell. It then cannot notice if the service shows an older state than you have seen.',
    keptSome: (date, size) => `Since ${date}: the numbers that were looked up with their answers, and the directory${size ? ` (${octets(size)})` : ''}.`,
    keptCode: 'Your access code, too.',
    keptFixed: 'The browser will not remove it by itself.',
    keptWhy: 'With it, a second look costs nearly nothing, and only new numbers are sent. Names are not kept. A browser that is short of space may remove it; then everything is looked up again.',
    forget: 'Forget everything',
    forgetSure: 'Forget everything about this service?',
    forgetMeans: 'The numbers, the directory and your access code are removed from this browser. Next time everything is looked up again, which counts against the budget of your code.',
    forgetYes: 'Forget',
    forgotten: 'Forgotten. Nothing of this service is left in this browser.',
    persist: 'Ask the browser not to remove it',
    cancel: 'Cancel',
    footer: 'No cookies, no tracking, nothing from third parties. Free software: contactsync, Apache License 2.0.',

    retry: 'Try again',
    exactly: 'What exactly happened',
    wait: (seconds) =>
      seconds < 120 ? `Try again in ${many(seconds, 'second', 'seconds')}.`
      : seconds < 7200 ? `Try again in ${many(Math.ceil(seconds / 60), 'minute', 'minutes')}.`
      : `Try again in ${many(Math.ceil(seconds / 3600), 'hour', 'hours')}.`,
    problems: {
      network: ['No answer from the service', 'Check whether you are online, then try again. What was received is kept, and it continues from there.'],
      code: ['The access code is not accepted', 'Check that you copied all of it. If it is right, it may have ended: ask the service for a new one.'],
      link: ['The link that brought you here was used, or is too old', 'Go back to where you clicked it, and open the page from there again. A link works once, for some minutes.'],
      audience: ['This access code is for something else', 'It is not for looking up people. Ask the service for one that is.'],
      quota: ['The budget of your code is used up', 'Each code may ask about a limited number of contacts. What was answered is kept, and it continues from there.'],
      busy: ['The service is busy', 'Try again in a few minutes. What was answered is kept.'],
      unpublished: ['The service has not published its directory yet', 'Try again later, or ask the operator.'],
      refused: ['The service refused', 'Try again later. If it happens again, tell the operator what is written below.'],
      broken: ['The service has a fault', 'Try again later. If it happens again, tell the operator what is written below.'],
      signature: ['The service’s signatures are not valid', 'What it sent was not used. Do not go on: ask the operator in another way than by this page, and tell what is written below.'],
      expired: ['The service’s signatures have expired', 'Check the date and time of this device. If they are right, the service must sign anew: tell the operator.'],
      history: ['The service shows another history than before', 'Do not go on. What this browser keeps is the evidence: do not forget it, and ask the operator in another way than by this page.'],
      file: ['A file of the directory was changed on its way', 'It was not used. Try again: it is then fetched anew. If it happens again, tell the operator.'],
      proof: ['The service answered with another key than it published', 'The answer was not used. If it happens again, do not go on, and tell the operator.'],
      reply: ['The service sent something that this page does not understand', 'Load this page again. If it happens again, tell the operator what is written below.'],
      root: ['This page has another key than the last time', 'Somebody has exchanged the key by which signatures are checked. Do not go on unless the operator confirms the new fingerprint in another way; then forget everything below, and start anew.'],
      large: ['The download would be too large', 'Nothing was fetched. Use the contactsync command, which can fetch parts.'],
      locked: ['It is already running in another tab', 'Wait until it has ended there, or close that tab.'],
      room: ['This device has no room left for the directory', 'Free some space, then try again.'],
      storage: ['This browser does not let the page keep anything', 'Allow this site to store data, or leave the private window.'],
      state: ['What this browser keeps is damaged', 'Press “Forget everything” below, then start anew.'],
      input: ['This cannot be used', 'Choose another file or country.'],
      insecure: ['This page was not opened securely', 'Open it with https:// at the beginning. An access code must not be sent otherwise.'],
      setup: ['This page is not set up', 'The operator has to correct it: its service.json cannot be used.'],
      unreadable: ['The file could not be opened', 'Choose it again. If it is on another device or in a cloud, save it on this one first.'],
      fault: ['Something went wrong in this page', 'Load it again. If it happens again, report what is written below.'],
    },
    reasons: {}, // as the client says them
    place: (text) => text,
    hints: {
      'give --region, or write the number with + and its country code': 'choose the country, or write the number with + and its country code',
    },
  };
};
