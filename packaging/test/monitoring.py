#!/usr/bin/env python3
"""The alerts and the dashboard against a real Prometheus that scrapes a running Pinfold, in a network of their own.

What must hold: `promtool` takes the rules, and they are raised by what they are for; every metric that a rule or a panel
asks for is one that Pinfold has; every expression is one that Prometheus can answer; nothing is raised while all is well;
a node that dies raises what it should.

Needs root, util-linux, iproute2 and prometheus. PINFOLD is the program (target/release/pinfold).
"""

import json
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.parse
import urllib.request

import apart
from apart import PINFOLD, ROOT

RULES = ROOT / "packaging/prometheus/pinfold.rules.yml"
DASHBOARD = ROOT / "packaging/grafana/pinfold.json"

CONFIG = """
version = 1
[server]
admin = "127.0.0.1:9061"
state_dir = "{directory}/state"
[[pool]]
name = "edge"
  [[pool.node]]
  name = "edge1"
  address = "127.0.0.11"
  [[pool.node]]
  name = "edge2"
  address = "127.0.0.12"
[[listener]]
name = "federation"
bind = "127.0.0.10:5061"
service = "federation"
pool = "edge"
probe = {{ kind = "tcp" }}
"""

PROMETHEUS = """
global: {{ scrape_interval: 1s, evaluation_interval: 1s }}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: pinfold
    static_configs: [{{ targets: ["127.0.0.1:9061"] }}]
"""


def until(what, condition):
    """Servers that are starting refuse connections."""
    return apart.until(what, condition, patience=60, pause=0.1, passing=OSError)


def get(address):
    with urllib.request.urlopen(f"http://{address}", timeout=5) as answer:
        return answer.read().decode()


def ask(expression):
    answer = json.loads(get("127.0.0.1:9090/api/v1/query?" + urllib.parse.urlencode({"query": expression})))
    assert answer["status"] == "success", (expression, answer)
    return answer["data"]["result"]


class Node:
    """Takes connections on 5061, and lets go of them, until it is stopped."""

    def __init__(self, address):
        self.door = socket.create_server((address, 5061))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        try:
            while True:
                self.door.accept()[0].close()
        except OSError:
            pass

    def stop(self):
        self.door.shutdown(socket.SHUT_RDWR)
        self.door.close()


def expressions():
    """Every expression of the rules and of the dashboard, as Prometheus gets it."""
    for line in RULES.read_text().splitlines():
        found = re.match(r"\s+expr: (.*)", line)
        if found:
            yield found[1]
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*")
    for note in dashboard["annotations"]["list"]:
        yield note["expr"].replace("$instance", ".*")


def known_metrics():
    """What Pinfold can say, from its own source: most of it only once there is something to say."""
    source = (ROOT / "src/control/admin/metrics.rs").read_text()
    names = set(re.findall(r'"(pinfold_[a-z0-9_]+)"', source))
    return names | {f"{name}_total" for name in names} | {"pinfold_failover_seconds_bucket", "process_start_time_seconds", "up"}


def main():
    apart.go_apart()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)

    subprocess.run(["promtool", "check", "rules", RULES], check=True)
    subprocess.run(["promtool", "test", "rules", RULES.with_name("pinfold.rules.test.yml")], check=True)

    known, asked = known_metrics(), list(expressions())
    for expression in asked:
        for name in re.findall(r"\b(?:pinfold_[a-z0-9_]+|process_start_time_seconds)\b", expression):
            assert name in known, f"no metric is called {name}: {expression}"
    print(f"{len(asked)} expressions ask for metrics that there are")

    with tempfile.TemporaryDirectory(prefix="pinfold-monitoring-") as directory:
        scrape(pathlib.Path(directory), asked)
    print("passed")


def scrape(directory, asked):
    nodes = [Node("127.0.0.11"), Node("127.0.0.12")]
    (directory / "pinfold.toml").write_text(CONFIG.format(directory=directory))
    (directory / "prometheus.yml").write_text(PROMETHEUS.format(rules=RULES))
    log = open(directory / "log", "wb")
    children = [
        subprocess.Popen([PINFOLD, "serve", "--config", directory / "pinfold.toml"], stderr=log),
        subprocess.Popen(
            ["prometheus", f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data",
             "--web.listen-address=127.0.0.1:9090", "--log.level=warn"],
            stderr=log,
        ),
    ]
    try:
        until("Prometheus has scraped it", lambda: [x for x in ask('up{job="pinfold"}') if x["value"][1] == "1"])
        until("both nodes are up", lambda: ask("sum(pinfold_node_up) == 2"))
        kind = urllib.request.urlopen("http://127.0.0.1:9061/metrics", timeout=5).headers["Content-Type"]
        assert "openmetrics" in kind, kind
        for expression in asked:
            ask(expression)
        print("Prometheus answers each of them")
        rules = json.loads(get("127.0.0.1:9090/api/v1/rules"))["data"]["groups"][0]["rules"]
        unwell = [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"]
        assert not unwell, unwell
        assert not ask("ALERTS"), f"nothing is wrong, and yet: {ask('ALERTS')}"
        print("nothing is raised while all is well")

        nodes[0].stop()
        raised = lambda: {x["metric"]["alertname"] for x in ask("ALERTS")}
        until("the dead node is told", lambda: raised() == {"PinfoldNodeDown"})
        nodes[1].stop()
        until("the pool without a node pages", lambda: ask('ALERTS{alertname="PinfoldPoolWithoutNode",alertstate="firing",severity="page"}'))
        print("dead nodes are told")
    except BaseException:
        print((directory / "log").read_text(errors="replace")[-4000:], file=sys.stderr)
        raise
    finally:
        for child in children:
            child.kill()
            child.wait()


if __name__ == "__main__":
    main()
