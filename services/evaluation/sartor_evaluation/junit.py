"""An evaluation as JUnit XML, which continuous integration shows: a test case a rule, or a comparison."""

from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree import ElementTree as Xml

Json = Mapping[str, Any]


def junit(report: Json) -> bytes:
    """The gate's rules as test cases; without a gate the paired differences, of which the worse ones fail.

    Candidates that failed at items are cases with errors: their scores rest on fewer items.
    """
    cases = list(_rules(report) if report["verdict"] else _comparisons(report)) + list(_failures(report))
    name = report["about"].get("evaluation", "evaluation")
    suite = Xml.Element("testsuite", name=name, tests=str(len(cases)), time=f"{report['seconds']:.1f}")
    suite.set("failures", str(sum(case.find("failure") is not None for case in cases)))
    suite.set("errors", str(sum(case.find("error") is not None for case in cases)))
    suite.extend(cases)
    root = Xml.Element("testsuites")
    root.append(suite)
    data: bytes = Xml.tostring(root, encoding="utf-8", xml_declaration=True)
    return data


def _rules(report: Json) -> Iterator[Xml.Element]:
    for result in report["verdict"]["rules"]:
        rule = result["rule"]
        part = f" [{rule['slice']}]" if rule.get("slice") else ""
        against = "" if rule["compared_to"] == "nothing" else f" against {rule['compared_to']}"
        yield _case(
            f"gate.{rule['suite']}",
            f"{rule['metric']}{part}{against}",
            result["explanation"],
            failed=not result["passed"],
        )


def _comparisons(report: Json) -> Iterator[Xml.Element]:
    for line in report["comparisons"]:
        name = f"{line['metric']}: {line['candidate']} against {line['baseline']}"
        found = line["difference"]
        interval = f"{found['value']} [{found['lower']}, {found['upper']}]"
        text = f"{interval}, {found['items']} items: {line['verdict']}"
        yield _case(f"comparison.{line['suite']}", name, text, failed=line["verdict"].startswith("worse"))


def _failures(report: Json) -> Iterator[Xml.Element]:
    for suite, candidates in report["failures"].items():
        for candidate, reasons in candidates.items():
            case = Xml.Element("testcase", classname=f"answers.{suite}", name=candidate)
            count = sum(reasons.values())
            error = Xml.SubElement(case, "error", message=f"{count} items without an answer")
            error.text = "\n".join(f"{times} times: {_printable(why)}" for why, times in reasons.items())
            yield case


def _case(group: str, name: str, text: str, *, failed: bool) -> Xml.Element:
    case = Xml.Element("testcase", classname=_printable(group), name=_printable(name))
    if failed:
        Xml.SubElement(case, "failure", message=_printable(text))
    else:
        Xml.SubElement(case, "system-out").text = _printable(text)
    return case


def _printable(text: str) -> str:
    """XML has no room for control characters, not even escaped."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "�" for sign in text)
