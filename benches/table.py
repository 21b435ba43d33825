#!/usr/bin/env python3
"""Measures whole runs and writes the table of benches/README.md. One command, from the project's folder, on a quiet machine:

    benches/table.py              builds, makes the captures under target/bench, five runs of each command in turn, writes the table
    benches/table.py --runs 3     fewer runs
    benches/table.py FILE...      measures these captures and prints, without writing
    benches/table.py --write FILE...      the same, and writes
    benches/table.py --profile fast       with a build that is quick to make; the table says so

Each round runs every command once, so that a machine that slows down slows all of them; figures are medians. Peers are measured if installed.
"""
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


def run(command):
    """CPU seconds, wall seconds and peak resident MiB of one run. Its output is thrown away."""
    began = time.monotonic()
    with open(os.devnull, "w") as null:
        child = subprocess.Popen(command, stdout=null, stderr=null)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    # 4 is `tamperscope` on a capture that ends in the middle of a packet. What failed has measured nothing.
    if child.returncode not in (0, 4):
        sys.exit(f"{' '.join(command)}: exit {child.returncode}")
    return used.ru_utime + used.ru_stime, time.monotonic() - began, used.ru_maxrss / 1024


def commands(floor, ours, file):
    out = {
        "floor": [floor, file],
        "tamperscope -j1": [ours, "-j", "1", file],
        "tamperscope -j2": [ours, "-j", "2", file],
        "tamperscope -j1 --json": [ours, "analyze", "-j", "1", "--json", file],
        "tamperscope -j1 --max-memory 128M": [ours, "-j", "1", "--max-memory", "128M", file],
    }
    peers = {
        "tcpdump -w /dev/null": ["tcpdump", "-r", file, "-w", "/dev/null"],
        "ndpiReader": ["ndpiReader", "-q", "-i", file],
        "tshark -q -z conv,tcp": ["tshark", "-q", "-n", "-r", file, "-z", "conv,tcp"],
    }
    out.update({name: c for name, c in peers.items() if shutil.which(c[0])})
    return out


def measure(floor, ours, files, runs):
    lines = []
    for file in files:
        size = os.path.getsize(file) / 2**20
        todo = commands(floor, ours, file)
        seen = {name: [] for name in todo}
        # With one run of each there is nothing to be warmed up for: the floor comes first and reads the file.
        for command in todo.values() if runs > 1 else ():
            run(command)
        for _ in range(runs):
            for name, command in todo.items():
                seen[name].append(run(command))
        # A tiny capture costs the floor less than the clock can tell.
        least = max(statistics.median(s[0] for s in seen["floor"]), 0.001)
        for name, figures in seen.items():
            cpu, wall, peak = (statistics.median(f[i] for f in figures) for i in range(3))
            # Programs that map the file have its pages among their own.
            mapped = name == "floor" or name.startswith("tamperscope")
            peak = max(0, peak - size) if mapped else peak
            lines.append(f"| {pathlib.Path(file).stem} | {name} | {cpu:.2f} | {cpu / least:.1f} | {wall:.2f} | {peak:,.0f} |")
    return lines


def how(runs):
    return "one run of each in turn" if runs == 1 else f"medians of {runs} runs in turn"


def many(ours, file):
    """Milliseconds for each of 2,000 captures of about 10 kB given in one call."""
    folder = ROOT / "target/bench/many"
    folder.mkdir(parents=True, exist_ok=True)
    start = pathlib.Path(file).read_bytes()[: 10 * 1024]
    for n in range(2000):
        (folder / f"{n}.pcap").write_bytes(start)
    run([ours, "-j", "2", str(folder)])
    cpu, wall, _ = run([ours, "-j", "2", str(folder)])
    return f"2,000 captures of 10 kB in one call, `-j2`: {cpu / 2:.2f} ms of CPU and {wall / 2:.2f} ms of wall time each."


def main():
    args = sys.argv[1:]

    def option(name, default):
        if name not in args:
            return default
        at = args.index(name)
        value = args[at + 1]
        del args[at : at + 2]
        return value

    runs, profile = int(option("--runs", 5)), option("--profile", "release")
    write = not [a for a in args if a != "--write"] or "--write" in args
    args = [a for a in args if a != "--write"]
    subprocess.run(["cargo", "build", "--profile", profile, "--quiet"], cwd=ROOT, check=True)
    benches = ["cargo", "bench", "--no-run", "--profile", "bench" if profile == "release" else profile, "--bench", "floor", "--bench", "pipeline"]
    built = subprocess.run(benches, cwd=ROOT, check=True, capture_output=True, text=True).stderr
    tools = {line.split("(")[1].rstrip(")").split("/")[-1].rsplit("-", 1)[0]: line.split("(")[1].rstrip(")") for line in built.splitlines() if "Executable" in line}
    floor, pipeline = (str(ROOT / tools[t]) for t in ("floor", "pipeline"))
    ours = str(ROOT / "target" / profile / "tamperscope")
    files = args
    if not files:
        folder = ROOT / "target/bench"
        files = [str(folder / f"{kind}.pcap") for kind in ("mixed", "bulk", "storm")]
        if not all(os.path.exists(f) for f in files):
            subprocess.run([pipeline, "make", str(folder)], check=True)
    lines = [
        f"{os.cpu_count()} processors ({platform.machine()}), load at the beginning {os.getloadavg()[0]:.1f}; {how(runs)}, `{profile}` profile. Memory is the peak in MiB; of programs that map the file, what lies beyond the file.",
        "",
        "| capture | command | CPU s | × floor | wall s | MiB |",
        "|---|---|---:|---:|---:|---:|",
        *measure(floor, ours, files, runs),
        "",
        many(ours, files[0]),
        "",
        "```text",
        *[subprocess.run([pipeline, "shards", f], check=True, capture_output=True, text=True).stdout.strip() for f in files],
        "```",
    ]
    text = "\n".join(lines)
    print(text)
    if write:
        page = ROOT / "benches/README.md"
        old = page.read_text()
        head, rest = old.split(BEGIN, 1)
        page.write_text(head + BEGIN + "\n" + text + "\n" + END + rest.split(END, 1)[1])


main()
