# pgbackfill in migrations of Rails: copy this file and tasks/pgbackfill.rake into lib/.
#
#   include Pgbackfill
#   disable_ddl_transaction!            with pgbackfill_complete and pgbackfill_run
#
#   pgbackfill_gate "users_display_name"        nothing of the migration is applied while rows are left
#   pgbackfill_complete "users_display_name"    the gate, then the contract steps of the migration
#   pgbackfill_run "users-display-name.yaml"    the backfill; for small databases, since db:migrate waits for it
#
# pgbackfill works on connections of its own and would wait for a lock that an open transaction of Rails holds. So the
# last two are refused within one.
module Pgbackfill
  class Refused < StandardError; end

  REASONS = {
    1 => "failed",
    2 => "was called wrongly, or its file has a mistake",
    3 => "was refused: the gate is closed, a check did not hold, or somebody has to agree (pgbackfill approve)",
    4 => "stopped early; the same command goes on"
  }.freeze

  # In the migration's transaction: the database looks at what `pgbackfill gate` measured last.
  def pgbackfill_gate(name)
    execute "SELECT pgbackfill.require_gate(#{connection.quote(name)})"
  end

  def pgbackfill_complete(name)
    Pgbackfill.call(connection, "complete", name)
  end

  def pgbackfill_run(file)
    Pgbackfill.call(connection, "run", file)
  end

  def self.call(connection, *words)
    line = ["pgbackfill", *words].join(" ")
    if connection.transaction_open?
      raise Refused, "`#{line}` would wait for this transaction: write disable_ddl_transaction! into the migration"
    end
    return if system(environment(connection), ENV.fetch("PGBACKFILL", "pgbackfill"), *words)
    raise Refused, "`#{line}`: there is no such program" if $?.nil? || $?.exitstatus == 127
    code = $?.exitstatus
    raise Refused, "`#{line}` #{REASONS.fetch(code, "was killed")} (exit code #{code}); nothing is recorded as done"
  end

  # The database of this connection, whatever DATABASE_URL says; in the environment, since others can read a command
  # line. A role for pgbackfill alone may be set before, in PGBACKFILL_DATABASE_URL.
  def self.environment(connection)
    return {} if ENV["PGBACKFILL_DATABASE_URL"].to_s != ""
    known = connection.raw_connection.conninfo_hash.reject { |_, value| value.to_s.empty? }
    text = known.map { |name, value| "#{name}='#{value.gsub(/['\\]/) { |letter| "\\#{letter}" }}'" }.join(" ")
    {"PGBACKFILL_DATABASE_URL" => text}
  end
end
