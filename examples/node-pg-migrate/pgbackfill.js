// pgbackfill in migrations of node-pg-migrate: copy this file beside the folder of the migrations.
//
//   pgbackfill.gate(pgm, 'users_display_name')       nothing of the migration is applied while rows are left
//   pgbackfill.complete(pgm, 'users_display_name')   the gate, then the contract steps of the migration
//   pgbackfill.run(pgm, 'users-display-name.yaml')   the backfill; for small databases, since `up` waits for it
//
// pgbackfill works on connections of its own and would wait for a lock that an open transaction holds. node-pg-migrate
// calls a migration before that migration's own transaction begins; but unless it is told --no-single-transaction, all
// that are pending are in one, and the locks of the first are held while the last calls pgbackfill. So `complete` and
// `run` are refused while a transaction is open.
const { spawnSync } = require('node:child_process');

const reasons = {
  1: 'failed',
  2: 'was called wrongly, or its file has a mistake',
  3: 'was refused: the gate is closed, a check did not hold, or somebody has to agree (pgbackfill approve)',
  4: 'stopped early; the same command goes on',
};

// In the migration's transaction: the database looks at what `pgbackfill gate` measured last.
function gate(pgm, name) {
  pgm.sql(`SELECT pgbackfill.require_gate('${name.replaceAll("'", "''")}')`);
}

async function isInTransaction(pgm) {
  // The same in every statement of a transaction, and another one in the next statement without.
  const id = async () => (await pgm.db.select('SELECT pg_current_xact_id()::text AS id'))[0].id;
  return (await id()) === (await id());
}

async function call(pgm, ...words) {
  const line = ['pgbackfill', ...words].join(' ');
  if (await isInTransaction(pgm)) {
    throw new Error(`\`${line}\` would wait for this transaction: give node-pg-migrate --no-single-transaction`);
  }
  const done = spawnSync(process.env.PGBACKFILL ?? 'pgbackfill', words, { stdio: ['ignore', 'inherit', 'inherit'] });
  if (done.error) throw done.error;
  if (done.status !== 0) {
    const reason = reasons[done.status] ?? 'was killed';
    throw new Error(`\`${line}\` ${reason} (exit code ${done.status}); the migration was not applied`);
  }
}

const run = (pgm, file) => call(pgm, 'run', file);
const complete = (pgm, name) => call(pgm, 'complete', name);

module.exports = { gate, run, complete };
