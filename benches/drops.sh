#!/bin/bash
# drops.sh CAPTURE [RATE...]: packets lost at given rates (packets/s), side by side: tamperscope live, tcpdump -w /dev/null, dumpcap, ndpiReader.
# Each listens in turn on one end of a veth pair while tcpreplay sends CAPTURE from the other, on the same processors. Needs root, iproute2,
# tcpreplay, and whichever of the others is to be compared. SECONDS_EACH (default 10) and TS (the program) can be set.
# Prints: rate asked, rate sent, program, sent, seen, lost %, the program's CPU seconds; of tamperscope also packets not read in full (policy).
set -eu
cap=$1; shift
[ $# -gt 0 ] || set -- 50000 100000 200000 400000
ts=${TS:-$(cd "$(dirname "$0")/.." && pwd)/target/release/tamperscope}
each=${SECONDS_EACH:-10}
ns=tsdrops$$
tmp=$(mktemp -d)
trap 'ip netns del $ns 2>/dev/null; rm -rf "$tmp"' EXIT
ip netns add $ns
ip netns exec $ns sysctl -qw net.ipv6.conf.default.disable_ipv6=1
ip -n $ns link add a0 mtu 9000 type veth peer name b0 mtu 9000
for i in a0 b0; do ip -n $ns link set $i arp off up; done
inside() { ip netns exec $ns "$@"; }

# What arrived at b0: the kernel's own count.
received() { inside cat /sys/class/net/b0/statistics/rx_packets; }

# Its name as the kernel has it.
comm_of() { if [ "$1" = tamperscope ]; then basename "$ts"; else echo "$1"; fi; }

listen() {
    case $1 in
    tamperscope) inside "$ts" live -i b0 --json -q >"$tmp/out" 2>"$tmp/err" ;;
    tcpdump) inside tcpdump -i b0 -w /dev/null >"$tmp/out" 2>"$tmp/err" ;;
    dumpcap) inside dumpcap -q -i b0 -w /dev/null >"$tmp/out" 2>"$tmp/err" ;;
    ndpiReader) inside ndpiReader -i b0 -s 3600 -v 0 >"$tmp/out" 2>"$tmp/err" ;;
    esac
}

seen() {
    case $1 in
    tamperscope) sed -n 's/.*"type":"source".*"packets":\([0-9]*\),"decoded".*/\1/p' "$tmp/out" ;;
    tcpdump) sed -n 's/^\([0-9]*\) packets captured/\1/p' "$tmp/err" ;;
    dumpcap) sed -n 's/^Packets received.dropped on interface.*: \([0-9]*\)\/.*/\1/p' "$tmp/err" ;;
    ndpiReader) sed -n 's/.*IP packets:.* of \([0-9]*\) packets total.*/\1/p' "$tmp/out" | head -1 ;;
    esac
}

for rate; do
    for who in tamperscope tcpdump dumpcap ndpiReader; do
        [ $who = tamperscope ] || command -v $who >/dev/null || continue
        listen $who & job=$!
        sleep 1.5
        pid=$(inside sh -c 'for p in /proc/[0-9]*; do
            [ "$(readlink $p/ns/net)" = "$(readlink /proc/self/ns/net)" ] && case $(cat $p/comm) in '$(comm_of $who)') echo ${p#/proc/};; esac; done' | tail -1)
        [ -n "$pid" ] || { echo "$who did not begin: $(tail -1 "$tmp/err")" >&2; wait $job || true; continue; }
        before=$(received)
        inside timeout $((each + 5)) tcpreplay -q -K -l 0 --duration=$each -p "$rate" -i a0 "$cap" >"$tmp/replay" 2>&1 || true
        sleep 1
        sent=$(($(received) - before))
        cpu=$(awk '{ print ($14 + $15) / 100 }' "/proc/$pid/stat")
        kill -INT "$pid"
        wait $job 2>/dev/null || true
        got=$(seen $who)
        shed=
        [ $who != tamperscope ] || shed="policy $(sed -n 's/.*"type":"end".*"policy":\([0-9]*\).*/\1/p' "$tmp/out")"
        real=$(sed -n 's/^Rated:.* \([0-9.]*\) pps.*/\1/p' "$tmp/replay")
        awk -v a="$rate" -v r="${real:-0}" -v w=$who -v s="$sent" -v g="${got:-0}" -v c="$cpu" -v p="$shed" \
            'BEGIN { printf "%-8d %-9.0f %-12s %10d %10d %7.2f %% %6.1f s  %s\n", a, r, w, s, g, s ? 100 * (s - g) / s : 0, c, p }'
    done
done
