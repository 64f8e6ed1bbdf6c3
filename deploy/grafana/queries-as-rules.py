"""Prints the queries of dashboards as recording rules, so that promtool, which knows rules only, can parse them."""

import json
import sys

VARIABLES = {"$__rate_interval": "1m", "$__interval": "1m", "$__range": "1h"}

queries = []
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        dashboard = json.load(file)
    queries += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
if not queries:
    sys.exit("no queries in: " + ", ".join(sys.argv[1:]))
for name, value in VARIABLES.items():
    queries = [query.replace(name, value) for query in queries]
rules = [{"record": f"query_{number}", "expr": query} for number, query in enumerate(queries)]
print(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
