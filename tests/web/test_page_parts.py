"""Parts of the page that need no browser: texts, links, files to save, and what its sources may not do."""

import json
import re

import pytest
from javascript import WEB, needs_node, node

SOURCES = sorted((WEB / "page").iterdir())


def ask(script):
    """What an expression is, with all that a module of the page exports."""
    module, _, expression = script.partition(": ")
    url = json.dumps((WEB / "page" / module).as_uri())
    code = f"import * as it from {url}; console.log(JSON.stringify({expression}))"
    return json.loads(node("--input-type=module", "-e", code).stdout)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_source_makes_markup_or_programs_of_text(path):
    text = path.read_text()
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "createContextualFragment",
        "DOMParser",
        "setHTML",
        "srcdoc",
        "eval(",
        "new Function",
        "javascript:",
        "localStorage",
        "cookie",
        "importScripts",
    ):
        assert word not in re.sub(r"No cookies|Keine Cookies", "", text)
    assert not re.search(r"\son[a-z]+\s*=\s*[\"']|style\s*=\s*[\"']", text)  # inline, in HTML or SVG
    assert not re.search(
        r"//(?!www\.w3\.org/2000/svg)[a-z0-9-]+\.[a-z]{2,}", text.replace("https://matrix.to", "")
    )
    if path.suffix == ".js":
        assert len(text.splitlines()) <= 450


@needs_node
def test_both_languages_have_the_same_texts():
    shape = """(() => {
      const pairs = (one) => Object.entries(one).map(([name, value]) => [name, shape(value)]);
      const shape = (one) => typeof one !== 'object' ? typeof one
        : Array.isArray(one) ? one.length : Object.fromEntries(pairs(one));
      return [it.wordsOf('en', ['en']), it.wordsOf('de', ['de'])].map((words) => {
        const { reasons, hints, code, ...rest } = shape(words);
        return rest;
      });
    })()"""
    english, german = ask(f"words.js: {shape}")
    assert english == german
    assert set(english["problems"].values()) == {2}


@needs_node
def test_every_text_that_the_page_names_is_there():
    words = ask("words.js: Object.keys(it.wordsOf('en', ['en']))")
    html = (WEB / "page" / "index.html").read_text()
    assert set(re.findall(r'data-(?:text|label)="(\w+)"', html)) <= set(words)
    named = {name for path in SOURCES for name in re.findall(r"\bwords\.(?!js\b)(\w+)", path.read_text())}
    assert named <= set(words)
    ids = set(re.findall(r'\bid="([\w-]+)"', html))
    used = {name for path in SOURCES for name in re.findall(r"\$\('([\w-]+)'\)", path.read_text())}
    assert used <= ids


@needs_node
def test_the_browsers_language_decides():
    chosen = ask("words.js: [['fr', 'de-AT'], ['fr'], ['en-US', 'de'], []].map((one) => it.preferred(one))")
    assert chosen == ["de", "en", "en", "en"]


@needs_node
@pytest.mark.parametrize(
    ("template", "label", "link"),
    [
        ("https://matrix.to/#/{label}", "@anna:example.org", "https://matrix.to/#/@anna:example.org"),
        ("https://app.example/u?id={label}", 'a&b="<x>', "https://app.example/u?id=a%26b%3D%22%3Cx%3E"),
        ("xmpp:{label}", "anna@example.org", "xmpp:anna@example.org"),
        ("mailto:{label}", "a?bcc=b@example.org", "mailto:a%3Fbcc%3Db@example.org"),
        ("xmpp:{label}", "$&", "xmpp:%24%26"),
        ("xmpp:{label}", "\ud800", None),
        ("", "anna", None),
        ("{label}", "javascript" + ":alert(1)", None),
        ("javascript" + ":{label}", "alert(1)", None),
        ("https://{label}.example/", "x", None),
        ("https://app.example{label}", ".evil.example", None),
        ("http://app.example/{label}", "x", None),
        ("data:text/html,{label}", "x", None),
        ("https://app.example/{label}{label}", "x", None),
    ],
)
def test_where_a_label_leads(template, label, link):
    assert ask(f"links.js: it.linkOf({json.dumps(template)}, {json.dumps(label)})") == link


@needs_node
def test_a_spreadsheet_finds_no_formula():
    names = ["=1+1", "@x", "+1+1", "-2", "+49151", "plain", 'a "b", c', "\tx"]
    matches = json.dumps([{"name": name, "identifier": "tel:+49151", "label": None} for name in names])
    text = ask(f"matches.js: it.csvOf({matches})")
    cells = [line.rpartition(",tel:")[0] for line in text.split("\r\n")[1:-1]]
    assert cells == ["'=1+1", "'@x", "'+1+1", "-2", "+49151", "plain", '"a ""b"", c"', "'\tx"]


@needs_node
def test_each_error_of_the_client_has_its_words():
    cases = {
        '{"kind": "refused", "problem": "bad-credential"}': "code",
        '{"kind": "quota", "problem": "out-of-quota"}': "quota",
        '{"kind": "network"}': "network",
        '{"kind": "bad-signature", "refusal": "bad-signature"}': "signature",
        '{"kind": "bad-signature", "refusal": "rolled-back"}': "history",
        '{"kind": "bad-signature", "refusal": "expired"}': "expired",
        '{"kind": "bad-directory", "refusal": "bad-hash"}': "file",
        '{"kind": "bad-proof", "refusal": "bad-proof"}': "proof",
        '{"kind": "installation", "own": "locked"}': "locked",
        '{"kind": "installation"}': "state",
        '{"kind": "never heard of"}': "fault",
        '{"kind": "constructor", "own": "toString", "problem": "valueOf", "refusal": "__proto__"}': "fault",
    }
    list_ = f"[{', '.join(cases)}].map((one) => it.problemOf(one))"
    assert ask(f"problems.js: {list_}") == list(cases.values())
