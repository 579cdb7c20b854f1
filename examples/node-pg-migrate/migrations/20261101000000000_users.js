exports.up = (pgm) => {
  pgm.createTable('users', {
    id: { type: 'bigint', primaryKey: true, sequenceGenerated: { precedence: 'BY DEFAULT' } },
    name: { type: 'text', notNull: true },
  });
};

exports.down = (pgm) => pgm.dropTable('users');
