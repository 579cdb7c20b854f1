// What relies on the column: in one transaction with its gate.
const pgbackfill = require('../pgbackfill.js');

exports.up = (pgm) => {
  pgbackfill.gate(pgm, 'users_display_name');
  pgm.createView('greetings', {}, "SELECT id, 'Dear ' || display_name AS greeting FROM users");
};

exports.down = (pgm) => pgm.dropView('greetings');
