require_relative "../../lib/pgbackfill"

# What relies on the column: in one transaction with its gate.
class CreateGreetings < ActiveRecord::Migration[6.1]
  include Pgbackfill

  def up
    pgbackfill_gate "users_display_name"
    execute "CREATE VIEW greetings AS SELECT id, 'Dear ' || display_name AS greeting FROM users"
  end

  def down
    execute "DROP VIEW greetings"
  end
end
