#!/bin/bash
# drops.sh [CAPTURE [RATE...]]: packets lost at given rates (packets/s), side by side, as a table in Markdown: tamperscope live,
# tcpdump -w /dev/null, dumpcap, ndpiReader. Each listens in turn on one end of a veth pair while tcpreplay sends CAPTURE (default: the mixed
# fixture clean-messengers, every round with other addresses) from the other end, on the same processors. Needs root, iproute2, tcpreplay, and
# whichever of the others is to be compared. SECONDS_EACH (default 10), RUNS (default 1; the worst counts) and TS (the program) can be set.
# A rate counts only if the sender reached at least 95 % of it; cells say otherwise which rate was reached. What is lost is what the kernel
# counted at the receiving end and the program did not see; for tamperscope also what it saw, but did not read in full (policy).
# Every run is on standard error: rate asked, rate sent, program, sent, seen, lost, policy, the program's CPU seconds.
set -eu
cap=${1:-$(cd "$(dirname "$0")/.." && pwd)/fixtures/cases/clean-messengers/in.pcap}
[ $# -eq 0 ] || shift
[ -r "$cap" ] || { echo "no capture $cap" >&2; exit 2; }
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

# One run: what came of it in the variables real, sent, got, shed, cpu.
run() {
    listen "$1" & job=$!
    sleep 1.5
    pid=$(inside sh -c 'for p in /proc/[0-9]*; do
        [ "$(readlink $p/ns/net)" = "$(readlink /proc/self/ns/net)" ] && case $(cat $p/comm) in '$(comm_of "$1")') echo ${p#/proc/};; esac; done' | tail -1)
    [ -n "$pid" ] || { echo "$1 did not begin: $(tail -1 "$tmp/err")" >&2; wait $job || true; return 1; }
    before=$(received)
    inside timeout $((each + 5)) tcpreplay -q -K --unique-ip -l 0 --duration=$each -p "$2" -i a0 "$cap" >"$tmp/replay" 2>&1 || true
    sleep 1
    sent=$(($(received) - before))
    cpu=$(awk '{ print ($14 + $15) / 100 }' "/proc/$pid/stat")
    kill -INT "$pid"
    wait $job 2>/dev/null || true
    got=$(seen "$1")
    shed=0
    [ "$1" != tamperscope ] || shed=$(sed -n 's/.*"type":"end".*"policy":\([0-9]*\).*/\1/p' "$tmp/out")
    real=$(sed -n 's/^Rated:.* \([0-9.]*\) pps.*/\1/p' "$tmp/replay")
}

programs=
for who in tamperscope tcpdump dumpcap ndpiReader; do
    if [ $who = tamperscope ] || command -v $who >/dev/null; then programs="$programs $who"; fi
done
printf '| packets/s asked |'
for who in $programs; do
    printf ' %s |' $who
    [ $who != tamperscope ] || printf ' its policy losses |'
done
printf '\n|---|'
for who in $programs policy; do printf -- '---|'; done
printf '\n'
for rate; do
    printf '| %d |' "$rate"
    for who in $programs; do
        worst= policy= slow=
        for _ in $(seq "${RUNS:-1}"); do
            run $who "$rate" || continue
            awk -v a="$rate" -v r="${real:-0}" -v w=$who -v s="$sent" -v g="${got:-0}" -v c="$cpu" -v p="$shed" \
                'BEGIN { printf "%-8d %-9.0f %-12s %10d %10d %10d %10d %7.1f s\n", a, r, w, s, g, s - g, p, c }' >&2
            slow=$(awk -v a="$rate" -v r="${real:-0}" -v s="$slow" 'BEGIN { if (r < 0.95 * a) printf "%.0f", r; else print s }')
            worst=$(awk -v s="$sent" -v g="${got:-0}" -v o="${worst:--1}" 'BEGIN { l = s ? 100 * (s - g) / s : 0; if (l < 0) l = 0; print (l > o) ? l : o }')
            policy=$(awk -v s="$sent" -v g="${shed:-0}" -v o="${policy:--1}" 'BEGIN { l = s ? 100 * g / s : 0; print (l > o) ? l : o }')
        done
        shown() { if [ -z "$1" ]; then printf ' did not run |'; elif [ -n "$slow" ]; then printf ' (only %s/s reached) |' "$slow"; else awk -v l="$1" 'BEGIN { if (l == 0) printf " 0 |"; else printf " %.2g %% |", l }'; fi; }
        shown "$worst"
        [ $who != tamperscope ] || shown "$policy"
    done
    printf '\n'
done
