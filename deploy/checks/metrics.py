"""Every metric that the rules and the dashboard name exists in a running server's /metrics.

    python metrics.py METRICS.txt     the text of /metrics
"""

import json
import re
import sys
from pathlib import Path

import yaml

DEPLOY = Path(__file__).parent.parent
# Prometheus makes it itself.
MADE_BY_PROMETHEUS = {"up"}
WORDS = set(
    "abs absent and bool by changes count group_left histogram_quantile humanize ignoring increase le max min offset on "
    "or rate sum time topk unless vector without avg avg_over_time quantile group_right clamp_max clamp_min".split()
)
# All settings of labels, ranges and groupings, which hold no metric.
NOT_METRICS = re.compile(r"\{[^}]*\}|\[[^\]]*\]|\b(?:by|on|ignoring|without|group_left|group_right)\s*\([^)]*\)")
NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


def names(expression):
    return {name for name in NAME.findall(NOT_METRICS.sub(" ", expression)) if name not in WORDS}


def expressions(part):
    """Every "expr" in a nest of lists and objects."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "expr":
                yield value
            yield from expressions(value)
    elif isinstance(part, list):
        for value in part:
            yield from expressions(value)


def labels(expression):
    """(metric, label) of each selector."""
    for metric, inside in re.findall(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{([^}]*)\}", expression):
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inside):
            yield metric, label


def main():
    exposed, known_labels = set(), {}
    for line in Path(sys.argv[1]).read_text().splitlines():
        if line and not line.startswith("#"):
            name = NAME.match(line)[0]
            exposed.add(name)
            known_labels.setdefault(name, set()).update(re.findall(r'(\w+)="', line))
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())
    recorded = {rule["record"] for group in rules["groups"] for rule in group["rules"] if "record" in rule}
    dashboard = json.loads((DEPLOY / "grafana" / "hyperdesk.json").read_text())
    # What Prometheus adds to a series when it scrapes.
    added = {"job", "instance", "fleet", "zone"}
    mistakes, named = [], set()
    for where, content in (("rules.yml", rules), ("hyperdesk.json", dashboard)):
        for expression in expressions(content):
            named |= names(expression)
            for name in names(expression) - exposed - recorded - MADE_BY_PROMETHEUS:
                mistakes.append(f"{where}: /metrics has no {name}, in {expression}")
            for metric, label in labels(expression):
                if metric in exposed and label not in known_labels[metric] | added:
                    mistakes.append(f"{where}: {metric} has no label {label}")
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    tested = {test["name"] for test in yaml.safe_load((DEPLOY / "prometheus" / "rules_test.yml").read_text())["tests"]}
    explained = (DEPLOY / "README.md").read_text()
    mistakes += [f"rules_test.yml: no test of {alert}" for alert in sorted(alerts - tested)]
    mistakes += [f"README.md: no word on {alert}" for alert in sorted(alerts) if f"`{alert}`" not in explained]
    if mistakes:
        sys.exit("\n".join(mistakes))
    print(f"{len(named)} metrics of {len(exposed)} are named, and all exist; {len(alerts)} alerts are tested and explained")


if __name__ == "__main__":
    main()
