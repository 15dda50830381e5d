"""What audits found wrong: the rules, and what was said."""


def wrong(report):
    return {one.rule for one in report.findings if one.severity == "error"}


def messages(report):
    return " ".join(one.message for one in report.findings if one.severity == "error")
