# examples/compute: programs of `compute:` with the helper of each language that is here.
source "$SOURCE/tests/beside_tools/expect.bash"
cd "$DIR/examples/compute"

# try TABLE WORDS OF THE COMMAND...
try() {
  local name=$1 words
  shift
  words=$(printf ', %s' "$@")
  sql "CREATE TABLE $name (id int PRIMARY KEY, n bigint, text text)"
  sql "INSERT INTO $name SELECT g, g FROM generate_series(1, 1000) g"
  printf '%s\n' "name: $name" "table: $name" 'backfill:' '  where: text IS NULL' '  on_bad_row: {quarantine: 1}' '  compute:' \
    '    read: {n: n}' '    write: [text]' "    command: [${words#, }]" '    rows: 100' >"$name.yaml"
  done_by pgbackfill run "$name.yaml"
  is 998 "SELECT count(*) FROM $name WHERE text = 'n' || n"
  is 7,8 "SELECT string_agg(id::text, ',' ORDER BY id) FROM $name WHERE text IS NULL"
  is 'not eight' "SELECT message FROM pgbackfill.quarantine q JOIN pgbackfill.jobs j ON j.id = q.job_id WHERE j.name = '$name'"
}

cat >name.py <<'END'
from pgbackfill_compute import Later, Refuse, SKIP, answer_requests
asked = []
def name(read):
    if read["n"] == "7": return SKIP
    if read["n"] == "8": raise Refuse("not eight")
    if read["n"] == "150" and not asked:
        asked.append(True)
        raise Later(100)
    return {"text": "n" + read["n"]}
answer_requests(name)
END
try python_rows python3 name.py

cat >name.js <<'END'
const { answerRequests, Later, Refuse, SKIP } = require('./pgbackfill-compute.js');
let asked = false;
answerRequests(async ({ n }) => {
  if (n === '7') return SKIP;
  if (n === '8') throw new Refuse('not eight');
  if (n === '150' && !asked) {
    asked = true;
    throw new Later(100);
  }
  return { text: 'n' + n };
});
END
try node_rows node name.js

if command -v go >/dev/null; then
  mkdir -p named/compute
  cp go/compute.go named/compute
  printf '%s\n' 'module example.com/named' 'go 1.18' >named/go.mod
  cat >named/main.go <<'END'
package main

import (
	"encoding/json"
	"log"
	"time"

	"example.com/named/compute"
)

func main() {
	asked := false
	log.Fatal(compute.AnswerRequests(func(read json.RawMessage) (compute.Values, error) {
		var row struct{ N string }
		if err := json.Unmarshal(read, &row); err != nil {
			return nil, err
		}
		switch {
		case row.N == "7":
			return nil, nil
		case row.N == "8":
			return nil, compute.Refuse("not eight")
		case row.N == "150" && !asked:
			asked = true
			return nil, compute.Later(100 * time.Millisecond)
		}
		return compute.Values{"text": "n" + row.N}, nil
	}))
}
END
  (cd named && GOFLAGS=-mod=mod GOCACHE=$DIR/go go build -o ../name .)
  try go_rows ./name
fi
