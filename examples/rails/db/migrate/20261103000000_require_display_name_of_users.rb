require_relative "../../lib/pgbackfill"

# Contract: NOT NULL, once every row has its value.
class RequireDisplayNameOfUsers < ActiveRecord::Migration[6.1]
  include Pgbackfill
  disable_ddl_transaction!

  def up
    # New and small databases, for which nobody runs the backfill beforehand: those of developers and tests.
    pgbackfill_run "users-display-name.yaml" if ENV["RUN_BACKFILLS_HERE"] == "yes"
    # Not change_column_null :users, :display_name, false: that reads the whole table while nobody else may, whether the
    # rows are done or not. This asks the gate first.
    pgbackfill_complete "users_display_name"
  end

  def down
    raise ActiveRecord::IrreversibleMigration, "a contract is not taken back; write a migration that goes on from here"
  end
end
