#!/usr/bin/env bash
# The life of the package on a fresh Debian: built, installed, set up, started by a real systemd in a container,
# used, reloaded, killed, frozen, upgraded, removed, purged. Nothing of it may be left behind.
#
#   packaging/test/deb.sh            builds a release first
#   packaging/test/deb.sh --binaries packs target/release as it is
#
# Needs root, cargo-deb, lintian, mmdebstrap, systemd-container and a mirror of Debian that apt can reach.
# PINFOLD_KEEP=1 leaves the tree for a look. All traffic stays in the container's own network, which is its loopback.
set -Eeuo pipefail
cd "$(dirname "$0")/../.."
source packaging/test/container.sh

say() { printf "\n-- %s (%s s)\n" "$*" "$SECONDS"; }
fail() {
    printf 'FAILED: %s\n' "$*" >&2
    inside journalctl --no-pager -u pinfold -u pinfold-host-rules -n 40 >&2 || true
    exit 1
}
trap 'fail "line $LINENO: $BASH_COMMAND"' ERR
# Waits for a command to succeed, at most $1 seconds.
within() {
    local seconds=$1 until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $until ] || fail "not within $seconds s: $*"
        read -r -t 0.2 <> <(:) || true
    done
}
expect() {
    local want=$1 got
    shift
    got=$("$@") || true
    case "$got" in
    *"$want"*) ;;
    *) fail "$* says '$got', and not '$want'" ;;
    esac
}
main_pid() { inside systemctl show --property MainPID --value pinfold; }
revision() { inside pinfold status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["revision"])'; }
# Which node answers through the VIP.
served_by() { inside sh -c 'openssl s_client -connect 127.0.0.10:5061 </dev/null 2>/dev/null | grep -o "subject=.*"'; }
files() {
    (cd "$tree" && find . -xdev \( -path ./proc -o -path ./sys -o -path ./run -o -path ./tmp -o -path ./dev \
        -o -path ./var/lib/dpkg -o -path ./var/lib/apt -o -path ./var/cache -o -path ./var/log -o -path ./var/lib/systemd -o -path ./debs \) -prune -o -print | sort)
    # Users and groups, without the backups that adduser leaves.
    cut -d: -f1 "$tree/etc/passwd" "$tree/etc/group" | sort
}

say "two versions of the package"
packaging/deb/build "$@"
first=$(ls target/package/*.deb)
debs=$(mktemp -d)
cp "$first" "$debs/first.deb"
packaging/deb/build --binaries --version 0.1.1~test-1
cp target/package/pinfold_0.1.1*.deb "$debs/next.deb"

say "lintian"
lintian --fail-on error,warning --allow-root "$debs/first.deb"

say "a fresh Debian, started"
make_tree adduser openssl iproute2 nftables needrestart
start_container
inside systemctl enable --quiet --now nftables
files >"$work/before"

say "installed: enabled, and nothing runs before there is a configuration"
mkdir -p "$tree/debs"
cp "$debs"/*.deb "$tree/debs/"
expect "run \`pinfold setup\`" inside dpkg --install /debs/first.deb
expect enabled inside systemctl is-enabled pinfold
inside systemctl start pinfold
expect inactive inside systemctl is-active pinfold
inside man -w pinfold.8 >/dev/null 2>&1 || [ -e "$tree/usr/share/man/man8/pinfold.8.gz" ] || fail "no man page"

say "two Edge Servers on loopback"
for node in 1 2; do
    inside openssl req -x509 -newkey rsa:2048 -nodes -days 400 -subj "/CN=edge$node" \
        -keyout /tmp/edge$node.key -out /tmp/edge$node.pem 2>/dev/null
    inside systemd-run --quiet --unit "edge$node" openssl s_server -quiet -accept "127.0.0.1$node:5061" \
        -cert "/tmp/edge$node.pem" -key "/tmp/edge$node.key"
done

say "set up from a script"
inside sh -c 'pinfold setup' <packaging/test/answers.txt
inside pinfold check /etc/pinfold/pinfold.toml
expect "root pinfold 640" inside stat -c '%U %G %a' /etc/pinfold/pinfold.toml

say "started: traffic flows"
inside systemctl start pinfold
within 10 inside pinfold status --check
expect "CN = edge" served_by
expect "pinfold pinfold-admin 660" inside stat -c '%U %G %a' /run/pinfold/admin.sock
expect "pinfold pinfold-view 660" inside stat -c '%U %G %a' /run/pinfold-view/view.sock
expect ready inside pinfold vrrp-check --admin unix:/run/pinfold-view/view.sock
expect pinfold inside stat -c %U "/proc/$(main_pid)"
# It confines itself, under the filter that systemd puts before it, in every thread.
for thread in "/proc/$leader/root/proc/$(main_pid)/task"/*; do
    grep -q 'NoNewPrivs:.*1' "$thread/status" && grep -q 'Seccomp:.*2' "$thread/status" || fail "$thread is not confined"
    # Ports below 1024, and nothing else.
    grep -q 'CapEff:.*0000000000000400' "$thread/status" || fail "$(cat "$thread/status")"
done
for measure in capabilities no-new-privileges landlock system-calls; do
    expect $measure inside pinfold status --json
done
inside systemd-analyze security pinfold --no-pager | grep -v "✓"
score=$(inside systemd-analyze security pinfold --no-pager | grep -o 'pinfold.service: [0-9.]*' | grep -o '[0-9.]*$')
python3 -c "import sys; sys.exit(not $score <= 1.8)" || fail "systemd-analyze security: $score"

say "reloaded: by SIGHUP, by systemctl, and a bad file changes nothing"
at=$(revision)
inside sed -i 's/^\[server\]/[server]\nstop_timeout = "3s"/' /etc/pinfold/pinfold.toml
inside sh -c "kill -HUP $(main_pid)"
is_later() { [ "$(revision)" -gt "$at" ]; }
within 5 is_later
at=$(revision)
inside cp -p /etc/pinfold/pinfold.toml /etc/pinfold/good
inside sed -i 's/^\[server\]/[server]\nno_such_key = 1/' /etc/pinfold/pinfold.toml
if inside systemctl reload pinfold; then fail "a reload of a bad file succeeds"; fi
[ "$(revision)" = "$at" ] || fail "a bad file changes something"
inside mv /etc/pinfold/good /etc/pinfold/pinfold.toml
inside systemctl reload pinfold

say "killed: back at once, with its pins"
inside pinfold pins --json >"$work/pins"
pid=$(main_pid)
inside sh -c "kill -9 $pid"
within 10 inside pinfold status --check
[ "$(main_pid)" != "$pid" ] || fail "the same process"
pinned() { python3 -c 'import json, sys; print(sorted((str(p["subject"]), p["node"]) for p in json.load(open(sys.argv[1]))["pins"]))' "$1"; }
inside pinfold pins --json >"$work/pins.after"
[ "$(pinned "$work/pins")" = "$(pinned "$work/pins.after")" ] || fail "other pins"
[ "$(pinned "$work/pins")" != "[]" ] || fail "no pins at all"

say "frozen: the watchdog ends it, and it is back"
pid=$(main_pid)
inside sh -c "kill -STOP $pid"
within 40 sh -c "[ \"\$(nsenter --target $leader --all systemctl show --property MainPID --value pinfold)\" != $pid ]"
within 10 inside pinfold status --check

say "upgraded under a session that stays"
inside systemd-run --quiet --unit partner sh -c 'sleep 600 | openssl s_client -quiet -connect 127.0.0.10:5061'
within 10 sh -c "nsenter --target $leader --all pinfold sessions --json | grep -q edge"
pid=$(main_pid)
expect "goes on running" inside dpkg --install /debs/next.deb
[ "$(main_pid)" = "$pid" ] || fail "the upgrade restarted it"
expect active inside systemctl is-active partner
inside test -s /var/backups/pinfold-pins.json
expect 0.1.1~test-1 inside dpkg-query -W -f '${Version}' pinfold
inside needrestart -r a >"$work/needrestart" 2>&1 </dev/null || true
grep -q pinfold "$work/needrestart" || fail "needrestart does not know it: $(cat "$work/needrestart")"
[ "$(main_pid)" = "$pid" ] || fail "needrestart has restarted it"
inside systemctl stop partner
inside systemctl restart pinfold
within 10 inside pinfold status --check
expect "CN = edge" served_by

say "the rules of the host, under systemd"
cat >>"$tree/etc/pinfold/pinfold.toml" <<'T'
[[listener]]
name = "echo"
bind = "127.0.0.10:7777"
service = "tcp"
node_port = 7777
pool = "edge"
source = "transparent"
probe = { kind = "none" }
T
inside systemctl enable --quiet --now pinfold-host-rules
inside nft list table inet pinfold >/dev/null || fail "no rules"
# Which flushes all tables.
inside systemctl restart nftables
within 5 inside nft list table inet pinfold
inside systemctl restart pinfold
within 10 inside pinfold status --check
inside systemctl stop pinfold-host-rules
if inside nft list table inet pinfold >/dev/null 2>&1; then fail "the rules stay"; fi

say "removed: stopped, configuration kept"
inside apt-get remove -y -q pinfold >/dev/null
expect inactive inside systemctl is-active pinfold
inside test -e /etc/pinfold/pinfold.toml

say "purged: nothing is left"
inside systemctl stop edge1 edge2
inside apt-get purge -y -q pinfold >/dev/null
files >"$work/after"
diff "$work/before" "$work/after" || fail "something is left behind, see above"
[ ! -e "/proc/$leader/root/run/pinfold" ] || fail "/run/pinfold is left behind"

say "passed"
