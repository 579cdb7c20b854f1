# Made by packaging/generate from the help of the program; do not edit.
_pgbackfill() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command= word words=
  COMPREPLY=()  # left empty, names of files are completed
  # --format=json is three words here.
  if [[ $cur == '=' || $prev == '=' ]]; then
    if [[ $cur == '=' ]]; then cur=; else prev=${COMP_WORDS[COMP_CWORD - 2]}; fi
    [[ $prev == -* ]] || return 0
  fi
  for word in "${COMP_WORDS[@]:1:COMP_CWORD - 1}"; do
    case $word in
      init|plan|run|complete|rollback|stamp|approve|gate|verify|status|locks|exporter|serve|history|report|log|pause|resume|cancel|set|lint|doctor|sandbox|profile|rehearse|help|version) command=$word; break ;;
    esac
  done
  case $command:$prev in
    plan:--format) mapfile -t COMPREPLY < <(compgen -W 'text json markdown' -- "$cur"); return ;;
    plan:--param) return ;;
    plan:--only-keys) return ;;
    plan:--fail-on) mapfile -t COMPREPLY < <(compgen -W 'low medium high destructive' -- "$cur"); return ;;
    run:--param) return ;;
    run:--only-keys) return ;;
    run:--workers) return ;;
    run:--limit) return ;;
    run:--lease) return ;;
    run:--wait-for-rows) return ;;
    run:--wait-for-server) return ;;
    run:--poll) return ;;
    run:--listen) return ;;
    run:--final-scrape) return ;;
    run:--record-readings) return ;;
    run:--lock-patience) return ;;
    run:--terminate-blocker) return ;;
    run:--terminate-idle-in-transaction) return ;;
    run:--standby) return ;;
    complete:--param) return ;;
    complete:--lock-patience) return ;;
    complete:--terminate-blocker) return ;;
    complete:--terminate-idle-in-transaction) return ;;
    complete:--standby) return ;;
    rollback:--param) return ;;
    rollback:--lock-patience) return ;;
    rollback:--terminate-blocker) return ;;
    rollback:--terminate-idle-in-transaction) return ;;
    rollback:--standby) return ;;
    rollback:--to) return ;;
    stamp:--phase) mapfile -t COMPREPLY < <(compgen -W 'backfilled complete' -- "$cur"); return ;;
    stamp:--param) return ;;
    approve:--param) return ;;
    approve:--reason) return ;;
    gate:--param) return ;;
    gate:--only-keys) return ;;
    gate:--wait) return ;;
    verify:--param) return ;;
    verify:--replica) return ;;
    verify:--wait-for-server) return ;;
    status:--param) return ;;
    status:--interval) return ;;
    locks:--param) return ;;
    locks:--release) return ;;
    locks:--release-leases) return ;;
    exporter:--listen) return ;;
    exporter:--interval) return ;;
    serve:--dsn) return ;;
    serve:--listen) return ;;
    serve:--host) return ;;
    serve:--token-file) return ;;
    serve:--tls-cert) return ;;
    serve:--tls-key) return ;;
    serve:--tls-client-ca) return ;;
    report:--param) return ;;
    report:--replay) return ;;
    report:--output) return ;;
    report:--format) mapfile -t COMPREPLY < <(compgen -W 'text json markdown html' -- "$cur"); return ;;
    log:--param) return ;;
    log:--limit) return ;;
    pause:--param) return ;;
    pause:--reason) return ;;
    pause:--for) return ;;
    resume:--param) return ;;
    resume:--reason) return ;;
    cancel:--param) return ;;
    cancel:--reason) return ;;
    set:--param) return ;;
    lint:--pg) return ;;
    lint:--fail-on) mapfile -t COMPREPLY < <(compgen -W 'low medium high destructive' -- "$cur"); return ;;
    lint:--format) mapfile -t COMPREPLY < <(compgen -W 'text json sarif markdown' -- "$cur"); return ;;
    lint:--schema) return ;;
    doctor:--param) return ;;
    sandbox:--replicas) return ;;
    sandbox:--rows) return ;;
    sandbox:--pg-bin) return ;;
    profile:--param) return ;;
    profile:--output) return ;;
    profile:--values) mapfile -t COMPREPLY < <(compgen -W 'none statistics' -- "$cur"); return ;;
    rehearse:--param) return ;;
    rehearse:--profile) return ;;
    rehearse:--scale) return ;;
    rehearse:--rows) return ;;
    rehearse:--traffic) mapfile -t COMPREPLY < <(compgen -W 'auto none' -- "$cur"); return ;;
    rehearse:--on) return ;;
    rehearse:--replicas) return ;;
    rehearse:--pg-bin) return ;;
    *:--dsn) return ;;
    *:--config) return ;;
    *:--trust-owner) return ;;
    *:--format) mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$cur"); return ;;
    *:--log-format) mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$cur"); return ;;
    *:--log-level) mapfile -t COMPREPLY < <(compgen -W 'debug info warning error' -- "$cur"); return ;;
  esac
  case $command in
    '') words='init plan run complete rollback stamp approve gate verify status locks exporter serve history report log pause resume cancel set lint doctor sandbox profile rehearse help version -h --help --version --dsn --config --trust-owner --format --log-format --log-level --no-progress' ;;
    init) words='-h --help --subscribers-ready --dsn --config --trust-owner --format --log-format --log-level --no-progress' ;;
    plan) words='-h --help --format --param --only-keys --sample --fail-on --dsn --config --trust-owner --log-format --log-level --no-progress' ;;
    run) words='-h --help --param --only-keys --workers --dry-run --limit --exit-outside-window --accept-drift --lease --wait-for-rows --wait-for-server --poll --subscribers-ready --listen --final-scrape --record-readings --lock-patience --terminate-blocker --terminate-idle-in-transaction --standby --skip-hooks --dsn --config --trust-owner --format --log-format --log-level --no-progress' ;;
    complete) words='-h --help --param --lock-patience --terminate-blocker --terminate-idle-in-transaction --standby --skip-hooks --subscribers-ready --yes --dsn --config --trust-owner --format --log-format --log-level --no-progress' ;;
    rollback) words='-h --help --param --lock-patience --terminate-blocker --terminate-idle-in-transaction --standby --skip-hooks --dry-run --to --yes --dsn --config --trust-owner --format --log-format --log-level --no-progress' ;;
    stamp) words='-h --help --phase --param --subscribers-ready --yes --dsn --config --trust-owner --format --log-format --log-level --no-progress' ;;
    approve) words='-h --help --param --reason --dsn --config --trust-owner --format --log-format --log-level --no-progress' ;;
    gate) words='-h --help --param --only-keys --wait --no-exec --dsn --config --trust-owner --format --log-format --log-level --no-progress' ;;
    verify) words='-h --help --param --replica --repair --restart --no-exec --wait-for-server --dsn --config --trust-owner --format --log-format --log-level --no-progress' ;;
    status) words='-h --help --param --watch --interval --dsn --config --trust-owner --format --log-format --log-level --no-progress' ;;
    locks) words='-h --help --param --release --terminate --release-leases --yes --dsn --config --trust-owner --format --log-format --log-level --no-progress' ;;
    exporter) words='-h --help --listen --interval --dsn --config --trust-owner --format --log-format --log-level --no-progress' ;;
    serve) words='-h --help --dsn --listen --host --allow-control --private --token-file --tls-cert --tls-key --tls-client-ca --behind-tls-proxy --show-values --config --trust-owner --format --log-format --log-level --no-progress' ;;
    history) words='-h --help --dsn --config --trust-owner --format --log-format --log-level --no-progress' ;;
    report) words='-h --help --param --replay --output --format --dsn --config --trust-owner --log-format --log-level --no-progress' ;;
    log) words='-h --help --param --limit --dsn --config --trust-owner --format --log-format --log-level --no-progress' ;;
    pause) words='-h --help --param --reason --for --dsn --config --trust-owner --format --log-format --log-level --no-progress' ;;
    resume) words='-h --help --param --reason --retry-quarantine --dsn --config --trust-owner --format --log-format --log-level --no-progress' ;;
    cancel) words='-h --help --param --reason --dsn --config --trust-owner --format --log-format --log-level --no-progress' ;;
    set) words='-h --help --param --dsn --config --trust-owner --format --log-format --log-level --no-progress' ;;
    lint) words='-h --help --pg --fail-on --format --schema --in-transaction --dsn --config --trust-owner --log-format --log-level --no-progress' ;;
    doctor) words='-h --help --param --dsn --config --trust-owner --format --log-format --log-level --no-progress' ;;
    sandbox) words='-h --help --replicas --rows --pg-bin --dsn --config --trust-owner --format --log-format --log-level --no-progress' ;;
    profile) words='-h --help --param --output --values --sample --dsn --config --trust-owner --format --log-format --log-level --no-progress' ;;
    rehearse) words='-h --help --param --profile --scale --rows --traffic --on --replicas --pg-bin --dsn --config --trust-owner --format --log-format --log-level --no-progress' ;;
    help) words='-h --help --dsn --config --trust-owner --format --log-format --log-level --no-progress' ;;
    version) words='-h --help --dsn --config --trust-owner --format --log-format --log-level --no-progress' ;;
  esac
  if [[ $command == set && $prev != set && $cur != -* ]]; then
    compopt -o nospace 2>/dev/null
    words='workers= batch.target= throttle.mode= throttle.replica_lag= throttle.slot_lag= throttle.replicas= throttle.ignore_replicas= throttle.expected_replicas= throttle.missing_replica= throttle.missing_patience= throttle.latency_ratio= throttle.utilization= throttle.cores= throttle.lock_wait= throttle.slot_headroom= throttle.archive_slow= throttle.archive_stop= throttle.wraparound_age= throttle.xmin_age= throttle.dead_rows= throttle.bloat= throttle.min_free_connections= throttle.max_rows_per_second= throttle.max_wal_per_second= throttle.nice='
  elif [[ -n $command && $cur != -* ]]; then
    return
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -o default -F _pgbackfill pgbackfill
