"""Reads Zeek's conn.log in both forms with the parsezeeklogs package, by the names and types that its header gives: LOG JSON. Prints the records."""
import json
import sys

from parsezeeklogs import ZeekLog


def records(path):
    with ZeekLog(path) as log:
        found = list(log)
        if log.skipped:
            sys.exit(f"{path}: {log.skipped} lines cannot be read")
        if log.path != "conn":
            sys.exit(f"{path}: is the log {log.path}")
        return found


tsv, js = (records(path) for path in sys.argv[1:3])
if len(tsv) != len(js):
    sys.exit(f"{len(tsv)} rows and {len(js)} objects")
for row, obj in zip(tsv, js):
    said = {key: value for key, value in row.items() if value is not None}
    close = all(abs(said[k] - obj[k]) < 2e-6 for k in ("ts", "duration") if k in said and k in obj)
    same = {k: v for k, v in said.items() if k not in ("ts", "duration")} == {k: v for k, v in obj.items() if k not in ("ts", "duration")}
    if said.keys() != obj.keys() or not close or not same:
        sys.exit(f"{said} is not {obj}")
print(json.dumps(tsv))
