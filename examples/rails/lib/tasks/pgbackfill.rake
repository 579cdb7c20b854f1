require_relative "../pgbackfill"

namespace :pgbackfill do
  desc "Runs a backfill, on the database of the application; safe to stop and to repeat"
  task :run, [:file] => :environment do |_, arguments|
    Pgbackfill.call(ActiveRecord::Base.connection, "run", arguments.fetch(:file))
  end

  desc "Fails, with the reasons, unless every row is done"
  task :gate, [:name] => :environment do |_, arguments|
    Pgbackfill.call(ActiveRecord::Base.connection, "gate", arguments.fetch(:name))
  end
end
