"""Runs SQL files in DuckDB: RECORDS FILE... Each file's last statement is a question; prints one JSON list of rows a file, in order."""
import json
import sys

import duckdb

con = duckdb.connect()
con.execute("SET VARIABLE records = '" + sys.argv[1].replace("'", "''") + "'")
for path in sys.argv[2:]:
    cursor = con.execute(open(path, encoding="utf-8").read())
    names = [d[0] for d in cursor.description or []]
    print(json.dumps([dict(zip(names, row)) for row in cursor.fetchall()], default=str))
