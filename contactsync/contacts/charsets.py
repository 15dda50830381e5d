"""Which charset a book is in that does not say it, and what programs call charsets.

A book without a declaration is UTF-8, or what its owner's computer used. It is told from the letters that
each candidate makes of it: words are in one script, capitals stand in front, names are of characters that
names are made of. General detectors need more text than a book with a few names has.
"""

from __future__ import annotations

import codecs
import functools
import re
from collections.abc import Sequence
from typing import TypeVar

_Value = TypeVar("_Value")


def _each(keys: str, value: _Value) -> dict[str, _Value]:
    """The same value for each of the keys, which stand between spaces."""
    return dict.fromkeys(keys.split(), value)


# The charsets that computers of a region used, first the most common.
_REGIONS: dict[str, tuple[str, ...]] = {
    **_each("RU BY KZ KG TJ UZ MN", ("cp1251", "koi8_r", "cp866", "iso8859_5")),
    **_each("UA BG RS MK", ("cp1251", "koi8_u", "cp866", "cp1250")),
    **_each("CZ SK PL HU SI HR RO BA AL", ("cp1250", "iso8859_2", "cp852")),
    **_each("GR CY", ("cp1253", "iso8859_7")),
    **_each("TR AZ", ("cp1254",)),
    "IL": ("cp1255", "iso8859_8"),
    **_each("SA EG AE JO LB SY IQ KW QA BH OM YE MA DZ TN LY IR PK", ("cp1256",)),
    **_each("EE LV LT", ("cp1257",)),
    "VN": ("cp1258",),
    "TH": ("cp874",),
    "JP": ("cp932", "euc_jp"),
    "KR": ("cp949",),
    **_each("CN SG", ("gbk",)),
    **_each("TW HK MO", ("cp950", "big5hkscs")),
}  # fmt: skip
_ALL = (
    *("cp1252", "cp1250", "cp1251", "cp932", "gbk", "cp949", "cp950", "cp1253", "cp1255", "cp1256", "koi8_r"),
    *("euc_jp", "cp866", "cp1254", "cp1257", "cp874"),
)

# Letters with marks that the languages of a charset use. Others in it are possible, and rare.
_LATIN = {
    "cp1252": "äöüßÄÖÜéèêëàâáãåçñóòôõíìîïúùûøæœÉÈÀÁÂÅÇÑÓÔÍÚØÆŒšžŠŽýÿ",
    "cp1250": "áčďéěíňóřšťúůýžÁČĎÉĚÍŇÓŘŠŤÚŮÝŽľĺŕôäąćęłńśźżĄĆĘŁŃŚŹŻőűöüŐŰÖÜăâîșțşţĂÂÎŞŢđĐ",
    "cp1254": "çğıöşüÇĞİÖŞÜâîû",
    "cp1257": "ąčęėįšųūžĄČĘĖĮŠŲŪŽāēģīķļņĀĒĢĪĶĻŅõäöüÕÄÖÜ",
    "cp1258": "ăâđêôơưĂÂĐÊÔƠƯáàéèíóòúùý\u0300\u0301\u0303\u0309\u0323",
}
_LATIN["iso8859_2"] = _LATIN["cp852"] = _LATIN["cp1250"]
# Scripts with capitals, or with letters that words end in: the frequent letters of each.
_FREQUENT = {
    "cyrillic": set("оеаинтсрвлкмдпуяієїґ"),
    "greek": set("αοιετσνηυρπκμλωςάέήίόύώ"),
    "hebrew": set("אבגדהוילמנרשתכםןס"),
    "arabic": set("ابدرسعفكلمنهويحةيتجخ"),
    "thai": set("กขคงจชดตทนบปพมยรลวสหอะาิีุู่้เแไ"),
}
_SCRIPTS = {
    **dict.fromkeys(("cp1251", "koi8_r", "koi8_u", "cp866", "iso8859_5"), (r"[\u0400-\u04ff]", "cyrillic")),
    **dict.fromkeys(("cp1253", "iso8859_7"), (r"[\u0370-\u03ff]", "greek")),
    **dict.fromkeys(("cp1255", "iso8859_8"), (r"[\u0590-\u05ff]", "hebrew")),
    "cp1256": (r"[\u0600-\u06ff\u200c\u200d]", "arabic"),
    "cp874": (r"[\u0e00-\u0e7f]", "thai"),
}
# Characters of common family and given names, and of the words of address books.
_COMMON = {
    "gbk": set(
        "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金"
        "石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严武戴莫孔向汤伟芳娜秀英敏静丽强磊军洋勇艳杰娟涛明超兰霞"
        "平刚桂红玉华建国文辉志春梅海波小晓东婷雪慧玲飞鹏宇浩俊佳欣怡梦琪子轩泽天一博丹凤云莉斌峰鑫帅美姓名电话手机号码移动家庭工作"
        "单位公司地址邮件联系人备注办公传真老师爸妈哥姐弟妹叔阿生先女士大中上学北京海广州深圳欧阳司诸葛修"
    ),
    "cp950": set(
        "陳林黃張李王吳劉蔡楊許鄭謝洪郭邱曾廖賴徐周葉蘇莊呂江何蕭羅高潘簡朱鍾彭游詹胡施沈余盧梁趙顏柯翁魏孫戴范方宋鄧杜傅侯曹薛丁"
        "卓馬阮董唐溫藍石蔣古紀姚連馮歐程湯田康姜白汪鄒尤巫鐘黎涂龔嚴韓袁金童陸夏柳俊傑志明家豪建宏淑芬美玲雅婷怡君惠雯慧宜心詩涵宗"
        "翰冠宇佳穎文華國強秀英麗珍大中小偉姓名電話手機號碼行動住家公司地址郵件聯絡人備註傳真老師爸媽先生女士台北商務稱職務"
    ),
    "cp932": set(
        "佐藤鈴木高橋田中伊渡辺山本村小林加吉井斎松清水崎森池阿部石川前後岡長谷近坂遠青福西太三浦岩原上島宮内野菊市古和久保桜千葉丸"
        "今大平河杉新渕星竹花子美香愛奈由紀恵真理優太郎一二健誠実翔大輔拓也直樹和彦幸雄正人明博隆浩之裕介智洋子陽菜結衣葵凛姓名前氏"
        "電話番号携帯自宅会社勤務先住所郵便件名連絡部署役職東京表示先メールアドレスのをはがにでとた様父母兄弟"
    ),
    "cp949": set(
        "김이박최정강조윤장임한오서신권황안송류유전홍고문양손배백허남심노하곽성차주우구민나진지엄채원천방공현함변염여추도소석선설마길"
        "연위표명기반왕금옥육인맹제모탁국어은편용수영준호민서윤하예지우현도시은아린다혜미경숙희자순정철상동재승훈성태진빈찬율전화번름휴대"
        "폰직장집메일주소회사엄마아빠형누나언니동생이름호팩스별표기본추가의가에을를"
    ),
}  # fmt: skip
_COMMON["euc_jp"] = _COMMON["cp932"]
_COMMON["big5hkscs"] = _COMMON["cp950"]
_WORD = re.compile(r"[^\W\d_]+")
_MIXED = re.compile(r"[A-Za-z][\u4e00-\u9fff\uac00-\ud7a3]|[\u4e00-\u9fff\uac00-\ud7a3][a-z]")
_PRIOR = 0.35  # of the best score, for the charsets of the region
_FEW = 40  # lines that are judged

# What programs call a charset, without punctuation and a leading x, where Python does not know it or where
# its Python namesake lacks what programs put there (the WHATWG Encoding Standard makes the same choices).
_NAMES = {
    **_each("sjis shiftjis mssjis mskanji windows31j cswindows31j cp932 ms932", "cp932"),
    **_each("gb2312 gbk chinese gb231280 cp936 ms936 euccn windows936", "gb18030"),
    **_each("euckr ksc5601 ksc56011987 ksc56011989 korean cp949 ms949 uhc windows949", "cp949"),
    **_each("big5 cnbig5 csbig5 cp950 windows950 msbig5 big5tw", "big5hkscs"),
    **_each("iso88591 latin1 usascii ascii ansi ansix341968", "cp1252"),
    **_each("iso88599 latin5", "cp1254"),
    **_each("iso885911 tis620", "cp874"),
    **_each("iso88598i iso88598e logical", "iso8859_8"),
    **_each("utf8 unicode11utf8 unicode utf8mb4 utf8n cp65001", "utf_8"),
    **_each("eucjp ujis eucjpms eucjpwin", "euc_jp"),
    **_each("iso2022jp jis iso2022jpms", "iso2022_jp_ext"),
    **_each("koi8 koi8r", "koi8_r"),
    **_each("macroman macintosh mac", "mac_roman"),
    **_each("maccyrillic macukrainian", "mac_cyrillic"),
    "macjapanese": "cp932",
    "koi8u": "koi8_u",
    "gb18030": "gb18030",
    "hz": "hz",
    "hzgb2312": "hz",
    "iso2022kr": "iso2022_kr",
    "big5hkscs": "big5hkscs",
    "utf16": "utf_16",
    "utf16le": "utf_16_le",
    "utf16be": "utf_16_be",
    "utf7": "utf_7",
}  # fmt: skip


@functools.lru_cache(maxsize=64)
def codec_of(name: str) -> str | None:
    """The Python codec of a charset's name in any spelling; None if it is no charset of address books."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    plain = plain.removeprefix("x").removeprefix("cs") if plain not in _NAMES else plain
    known = _NAMES.get(plain)
    if known is not None:
        return known
    number = re.fullmatch(r"(?:cp|windows|win|ibm|ms|dos)?(\d{3,4})", plain)
    if number is not None and number[1] in _PAGES:
        return f"cp{number[1]}"
    part = re.fullmatch(r"iso8859(\d{1,2})", plain)
    return f"iso8859_{part[1]}" if part is not None and int(part[1]) in _PARTS else None


_PAGES = {"437", "737", "775", "850", "852", "855", "857", "858", "862", "864", "866", "874"} | {
    str(page) for page in range(1250, 1259)
}
_PARTS = {2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16}


def charset_of(lines: Sequence[bytes], region: str | None) -> str:
    """The codec that lines, none in UTF-8, are most likely in. cp1252 if nothing speaks for another."""
    local = _REGIONS.get(region or "", ())
    best, best_score = "cp1252", float("-inf")
    for codec in dict.fromkeys((*local, *_ALL)):
        score = _score(lines[:_FEW], codec)
        if codec in local:
            score += _PRIOR * abs(score) if score > 0 else 0
        if score > best_score:
            best, best_score = codec, score
    return best


def _score(lines: Sequence[bytes], codec: str) -> float:
    """How well text fits a codec, for each byte that is not ASCII: about 1 if it does, 0 or less if not."""
    total = size = 0.0
    for line in lines:
        weight = sum(byte > 0x7F for byte in line)
        size += weight
        try:
            text = codecs.getincrementaldecoder(codec)().decode(line)  # it may be cut
        except UnicodeDecodeError:
            total -= 2 * weight
            continue
        total += _fit(text, codec)
    return total / size if size else 0.0


def _fit(text: str, codec: str) -> float:
    strange = sum(1 for c in text if c > "\x7f" and not c.isalpha() and not "\u3000" <= c <= "\u30ff")
    strange -= sum(text.count(c) for c in "\u00a0–—’“”„«»\u0301\u0300\u0303\u0309\u0323\uff0d\u3000")
    controls = sum("\x80" <= c <= "\x9f" or "\ue000" <= c <= "\uf8ff" for c in text)
    base = -0.7 * max(strange, 0) - 3.0 * controls
    if codec in _COMMON:
        return base + _fit_of_ideographs(text, codec)
    if codec in _SCRIPTS:
        return base + _fit_of_script(text, *_SCRIPTS[codec])
    return base + _fit_of_latin(text, _LATIN[codec])


def _fit_of_latin(text: str, letters: str) -> float:
    """Marked letters are few, and stand among plain ones."""
    score = 0.0
    for word in _WORD.findall(text):
        marked = [c for c in word if c > "\x7f"]
        if not marked:
            continue
        fit = sum(1.0 if c in letters else -0.5 for c in marked)
        if 2 * len(marked) > len(word) + 1:
            fit = min(fit, 0.0) - len(marked) * 0.5
        inner = word[1:]
        if not word.isupper() and any(c.isupper() for c in inner if c > "\x7f"):
            fit -= 1.0
        score += fit
    return score


def _fit_of_script(text: str, script: str, kind: str) -> float:
    """Words are in one script; capitals stand in front; the frequent letters are frequent."""
    of_script, frequent, score = re.compile(script), _FREQUENT[kind], 0.0
    for word in re.findall(r"[^\W\d_]+(?:[\u0e31-\u0e4e]+[^\W\d_]*)*", text):
        inside = len(of_script.findall(word))
        if not inside:
            score -= 0.5 * sum(c > "\x7f" for c in word)
            continue
        if inside < len(word):
            score -= len(word)
            continue
        score += sum(1.05 if c.lower() in frequent else 0.55 for c in word)
        if not word.isupper() and word[1:] != word[1:].lower():
            score -= 1.2 * sum(map(str.isupper, word[1:]))
        if kind in {"cyrillic", "greek"} and word[0].islower() and len(word) > 2:
            score -= 0.35 * len(word)  # names and headers begin with capitals
        if kind == "greek":
            score -= 1.5 * (word[:-1].count("ς") + (len(word) > 1 and word.endswith("σ")))
        if kind == "hebrew":
            score -= 1.5 * sum(c in "םןץףך" for c in word[:-1])
    return score


def _fit_of_ideographs(text: str, codec: str) -> float:
    """Each character of two bytes counts two: fully if it is common in names, little if it is rare."""
    common, score, hangul, others = _COMMON[codec], 0.0, 0, 0
    for c in text:
        if c <= "\x7f":
            continue
        if c in common:
            score += 2.2
        elif "\uff61" <= c <= "\uff9f":  # half-width kana: one byte each, and any byte is one
            score += 0.2
        elif "\u3000" <= c <= "\u30ff" or "\uff01" <= c <= "\uff5e":
            score += 2.0 if codec in {"cp932", "euc_jp"} or c < "\u3040" or c > "\u30ff" else 0.3
        elif "\uac00" <= c <= "\ud7a3":
            score += 1.5
        elif "\u4e00" <= c <= "\u9fff":
            score += 0.9 if codec != "cp949" else 0.2
        hangul += "\uac00" <= c <= "\ud7a3"
        others += "\u4e00" <= c <= "\u9fff"
    if codec == "cp949":
        score -= 1.0 * min(hangul, others)
    return score - 2.0 * len(_MIXED.findall(text))
