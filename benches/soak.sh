#!/bin/bash
# soak.sh [MINUTES]: resident memory of `tamperscope live --max-memory 256M` (MEMORY) over half an hour, as a plot in text. It listens on one end of
# a veth pair; the other sends 3,000 packets/s of the mixed fixture clean-messengers (MIXED; every round with other addresses) and 6,000 SYN/s from
# random addresses to random addresses (FLOOD). RSS and processor time are taken every 10 s. Needs root, iproute2, tcpreplay and python3; TS is the
# program. What it wrote stays in OUT (default: a new directory), which is named at the end.
set -eu
minutes=${1:-30}
here=$(cd "$(dirname "$0")/.." && pwd)
ts=${TS:-$here/target/release/tamperscope}
cap=${CAPTURE:-$here/fixtures/cases/clean-messengers/in.pcap}
out=${OUT:-$(mktemp -d)}
mkdir -p "$out"
ns=tssoak$$
trap 'kill $mixed $flood 2>/dev/null; ip netns del $ns 2>/dev/null' EXIT
mixed= flood=

# SYNs with random addresses, ports and numbers; tcpreplay changes the addresses again in every round.
python3 - "$out/flood.pcap" <<'PY'
import random, struct, sys
random.seed(7)
def checksum(b):
    s = sum(struct.unpack(f"!{len(b) // 2}H", b))
    s = (s >> 16) + (s & 0xFFFF)
    return ~(s + (s >> 16)) & 0xFFFF
with open(sys.argv[1], "wb") as f:
    f.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
    for i in range(200_000):
        ends = struct.pack("!II", 0x0B000000 + random.getrandbits(24), 0xC6336400 + random.randrange(1, 250))
        tcp = bytearray(struct.pack("!HHIIBBHHH", random.randrange(1024, 65535), 443, random.getrandbits(32), 0, 0x50, 2, 64240, 0, 0))
        struct.pack_into("!H", tcp, 16, checksum(ends + struct.pack("!BBH", 0, 6, 20) + tcp))
        ip = bytearray(struct.pack("!BBHHHBBH", 0x45, 0, 40, i & 0xFFFF, 0x4000, 64, 6, 0) + ends)
        struct.pack_into("!H", ip, 10, checksum(ip))
        frame = b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0" + ip + tcp
        f.write(struct.pack("<IIII", 1_700_000_000 + i // 10_000, i % 10_000 * 100, len(frame), len(frame)) + frame)
PY

ip netns add $ns
ip netns exec $ns sysctl -qw net.ipv6.conf.default.disable_ipv6=1
ip -n $ns link add a0 mtu 9000 type veth peer name b0 mtu 9000
for i in a0 b0; do ip -n $ns link set $i arp off up; done
inside() { exec ip netns exec $ns "$@"; }
inside "$ts" live -i b0 --json -q --max-memory "${MEMORY:-256M}" -a duration:$((minutes * 60)) \
    2>"$out/errors" > >(grep --line-buffered -E '"type":"(stats|end)"' >"$out/stats.jsonl") & live=$!
sleep 1
inside tcpreplay -q -K --unique-ip -l 0 -p "${MIXED:-3000}" -i a0 "$cap" >"$out/mixed" 2>&1 & mixed=$!
inside tcpreplay -q -K --unique-ip -l 0 -p "${FLOOD:-6000}" -i a0 "$out/flood.pcap" >"$out/syn" 2>&1 & flood=$!
began=$(date +%s)
while kill -0 $live 2>/dev/null; do
    if rss=$(awk '/^VmRSS/ { print $2 }' /proc/$live/status 2>/dev/null) && [ -n "$rss" ]; then
        echo "$(($(date +%s) - began)) $rss $(awk '{ print ($14 + $15) / 100 }' /proc/$live/stat)" >>"$out/rss"
    fi
    sleep 10
done
wait $live && code=0 || code=$?
kill $mixed $flood 2>/dev/null || true
awk '
    { t = $1; mb = $2 * 1024 / 1e6; cpu = $3; m = int(t / 60); if (mb > most[m]) most[m] = mb; last = m; if (mb > top) top = mb; list[NR] = mb; at[NR] = t }
    END {
        print "minute  highest resident memory, MB"
        for (i = 0; i <= last; i++) { bar = ""; for (j = 0; j < most[i] / 5; j++) bar = bar "#"; printf "%4d    %-60s %.0f\n", i, bar, most[i] }
        low = 1e9; high = 0
        for (i = 1; i <= NR; i++) if (at[i] >= t / 3) { if (list[i] < low) low = list[i]; if (list[i] > high) high = list[i] }
        printf "highest %.1f MB; over the last two thirds %.1f to %.1f MB; %.0f s of processor time in %d s\n", top, low, high, cpu, t
    }' "$out/rss"
tail -1 "$out/stats.jsonl"
echo "exit status $code; in $out" >&2
