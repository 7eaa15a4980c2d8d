# For tests of the package: a tree of Debian, and a container in which its systemd runs. To be sourced by bash.
#
#   make_tree PACKAGE...   a minimal Debian in $tree
#   start_container        systemd runs in it, in a network of its own; $leader is its process 1
#   inside COMMAND...      within it
#
# What was made is taken away at the exit, unless PINFOLD_KEEP is set.

PATH=$PATH:/usr/sbin:/sbin
work=$(mktemp -d)
tree=$work/tree
leader=
nspawn=

clean_up() {
    local status=$?
    if [ -n "$nspawn" ]; then
        # SIGTERM to nspawn is an orderly power-off.
        kill -TERM "$nspawn" 2>/dev/null || true
        timeout 30 tail --pid="$nspawn" -f /dev/null || kill -KILL "$nspawn" 2>/dev/null || true
    fi
    if [ -n "${PINFOLD_KEEP:-}" ]; then
        echo "left for a look: $work"
    else
        rm -rf "$work" "${debs:-}"
    fi
    exit $status
}
trap clean_up EXIT

make_tree() {
    local packages
    packages=$(IFS=,; echo "systemd,systemd-sysv,dbus,$*" | tr ' ' ,)
    mmdebstrap --quiet --mode=root --variant=minbase --include="$packages" bookworm "$tree"
}

start_container() {
    # The container's own filter does not know landlock.
    systemd-nspawn --quiet --directory="$tree" --boot --private-network --register=no --keep-unit \
        --system-call-filter='landlock_create_ruleset landlock_add_rule landlock_restrict_self' \
        --console=pipe --machine=pinfold-test </dev/null >"$work/console" 2>&1 &
    nspawn=$!
    local until=$((SECONDS + 60))
    while :; do
        leader=$(pgrep --parent "$nspawn" || true)
        if [ -n "$leader" ] && inside systemctl is-system-running 2>/dev/null | grep -Eq 'running|degraded'; then
            return
        fi
        [ $SECONDS -lt $until ] || { cat "$work/console"; echo "the container does not start" >&2; return 1; }
        read -r -t 0.2 <> <(:) || true
    done
}

inside() { nsenter --target "$leader" --all env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/root "$@"; }
