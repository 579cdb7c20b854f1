"""The program's side of `compute:`: write a function of one row, and call answer_requests() with it.

    from pgbackfill_compute import Later, Refuse, SKIP, answer_requests

    def hash_email(read):
        return {"email_hash": sha256(read["email"])}

    answer_requests(hash_email)

The function gets what the file names under `read` as a dict, and returns the columns to set, or SKIP to leave the row
as it is. It raises Refuse("why") for a row that cannot be done, and Later(milliseconds) when the service behind it
wants to be left alone. Any other exception ends the program; pgbackfill starts it again and sends the rows once more.
Print to standard error to log; standard output belongs to the answers.
"""

import json
import sys

SKIP = object()


class Refuse(Exception):
    """This row cannot be done."""


class Later(Exception):
    """Nothing can be done for so many milliseconds."""


def _row(compute_row, read):
    try:
        written = compute_row(read)
    except Refuse as why:
        return {"error": str(why)}
    return {"skip": True} if written is SKIP else {"write": written}


def answer_requests(compute_row):
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"rows": [_row(compute_row, row["read"]) for row in request["rows"]]}
        except Later as wait:
            answer = {"later": wait.args[0]}
        print(json.dumps({"id": request["id"], **answer}), flush=True)
