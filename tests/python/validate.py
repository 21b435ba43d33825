"""Validates JSON Lines against a JSON Schema with the jsonschema package: SCHEMA RECORDS. Prints how many lines of each type fit."""
import collections
import json
import sys

import jsonschema

schema = json.load(open(sys.argv[1], encoding="utf-8"))
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
# The alternatives one by one, so that an error names its field and not only that nothing fits.
each = {
    kind: jsonschema.Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": schema["$defs"]}) for kind in schema["$defs"]
}
count = collections.Counter()
for number, line in enumerate(open(sys.argv[2], encoding="utf-8"), 1):
    record = json.loads(line)
    if not validator.is_valid(record):
        errors = [f"{'.'.join(map(str, e.absolute_path))}: {e.message[:300]}" for e in each[record["type"]].iter_errors(record)]
        sys.exit(f"line {number} ({record['type']}): {errors}")
    count[record["type"]] += 1
print(json.dumps(count))
