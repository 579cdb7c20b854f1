# What the scripts of this folder share. DIR has a copy of examples/; DATABASE_URL leads to an empty database.
set -euo pipefail

output=$DIR/output
nowhere=postgresql://127.0.0.1:1/nowhere

fail() {
  echo "FAILED: $*"
  exit 1
}

sql() { psql "$DATABASE_URL" -XAtq -v ON_ERROR_STOP=1 -c "$1"; }

# done_by COMMAND...
done_by() {
  echo "\$ $*"
  "$@" >"$output" 2>&1 || { cat "$output"; fail "$*"; }
  cat "$output"
}

# ends_with CODE COMMAND...
ends_with() {
  local expected=$1 code=0
  shift
  echo "\$ $* (exit code $expected)"
  "$@" >"$output" 2>&1 || code=$?
  cat "$output"
  ((code == expected)) || fail "exit code $code, not $expected: $*"
}

# refused REASON COMMAND...: the command fails, and says why.
refused() {
  local reason=$1
  shift
  echo "\$ $* (to be refused)"
  ! "$@" >"$output" 2>&1 || { cat "$output"; fail "not refused: $*"; }
  cat "$output"
  grep -qF -- "$reason" "$output" || fail "it does not say: $reason"
}

says() { grep -qF -- "$1" "$output" || fail "it does not say: $1"; }

# is VALUE SQL
is() {
  local value
  value=$(sql "$2")
  [[ $value == "$1" ]] || fail "$2 is '$value', not '$1'"
}

# What a table is made of, its rows, and who wrote them last: nothing of it may change when nothing is to be done.
fingerprint() {
  sql "SELECT md5(string_agg(concat_ws(' ', t.xmin, t.ctid, t.*::text), ',' ORDER BY t.ctid)) FROM $1 t"
  sql "SELECT attname, attnotnull, atttypid FROM pg_attribute WHERE attrelid = '$1'::regclass AND attnum > 0"
  sql "SELECT conname, convalidated FROM pg_constraint WHERE conrelid = '$1'::regclass ORDER BY 1"
}

is_not_null="SELECT attnotnull FROM pg_attribute WHERE attrelid = 'users'::regclass AND attname = 'display_name'"
rows_left='SELECT count(*) FROM users WHERE display_name IS DISTINCT FROM upper(name)'

# A session of the application that sits on a row of users in an open transaction.
hold_a_row() {
  local held
  coproc HOLDER { psql "$DATABASE_URL" -XAtq -v ON_ERROR_STOP=1 2>&1; }
  echo 'BEGIN; SELECT name FROM users WHERE id = 1234 FOR UPDATE;' >&"${HOLDER[1]}"
  read -r held <&"${HOLDER[0]}"
  [[ $held == 'name 1234' ]] || fail "holding a row: $held"
}

release_the_row() {
  local pid=$HOLDER_PID
  echo 'COMMIT;' >&"${HOLDER[1]}"
  eval "exec ${HOLDER[1]}>&-"
  wait "$pid"
}
