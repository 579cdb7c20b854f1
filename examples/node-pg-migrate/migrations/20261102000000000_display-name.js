// Expand: a column that may be NULL as yet.
exports.up = (pgm) => {
  // It takes a moment, but waits for all who read the table now, and all others wait behind it.
  pgm.sql("SET LOCAL lock_timeout = '2s'");
  pgm.addColumn('users', { display_name: { type: 'text' } }, { ifNotExists: true });
};

exports.down = (pgm) => pgm.dropColumn('users', 'display_name');
