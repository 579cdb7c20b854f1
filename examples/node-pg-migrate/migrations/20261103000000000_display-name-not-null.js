// Contract: NOT NULL, once every row has its value.
const pgbackfill = require('../pgbackfill.js');

exports.up = async (pgm) => {
  // New and small databases, for which nobody runs the backfill beforehand: those of developers and tests.
  if (process.env.RUN_BACKFILLS_HERE === 'yes') await pgbackfill.run(pgm, 'users-display-name.yaml');
  // Not pgm.alterColumn('users', 'display_name', {notNull: true}): that reads the whole table while nobody else may,
  // whether the rows are done or not. This asks the gate first.
  await pgbackfill.complete(pgm, 'users_display_name');
};

// A contract is not taken back; write a migration that goes on from here.
exports.down = false;
