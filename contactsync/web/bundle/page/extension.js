// The page as a browser's extension: its button opens the page in a tab.
chrome.action.onClicked.addListener(() => chrome.tabs.create({ url: 'index.html' }));
