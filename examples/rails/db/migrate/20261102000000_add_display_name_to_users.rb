# Expand: a column that may be NULL as yet.
class AddDisplayNameToUsers < ActiveRecord::Migration[6.1]
  def change
    # It takes a moment, but waits for all who read the table now, and all others wait behind it.
    reversible { |direction| direction.up { execute "SET LOCAL lock_timeout = '2s'" } }
    add_column :users, :display_name, :text, if_not_exists: true
  end
end
