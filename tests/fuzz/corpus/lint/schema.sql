-- What the statements of the corpus run on: tables with rows, so that a scan is seen as one.
CREATE TYPE mood AS ENUM ('sad', 'fine');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN plain AS int;
CREATE FUNCTION steady() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
CREATE FUNCTION shaky() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$;
CREATE FUNCTION inlined() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';
CREATE FUNCTION unchanged() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;

CREATE TABLE users (
  id bigint PRIMARY KEY,
  email varchar(100) NOT NULL UNIQUE,
  name varchar(40),
  age int,
  score numeric(8,2),
  born timestamp,
  seen timestamptz(3),
  code char(6),
  bio text,
  bits varbit(8),
  net cidr,
  flag boolean NOT NULL DEFAULT false,
  doc json,
  feeling mood,
  ref oid,
  took interval,
  short varchar(10) CHECK (short <> ''),
  in_predicate varchar(10),
  in_expression varchar(10),
  tag text,
  small smallint,
  ratio real,
  other_id bigint,
  blob bytea
);
CREATE INDEX users_age_idx ON users (age);
CREATE INDEX users_born_idx ON users (born);
CREATE INDEX users_ref_idx ON users (ref);
CREATE INDEX users_name_idx ON users (name);
CREATE INDEX users_part_idx ON users (id) WHERE in_predicate IS NOT NULL;
CREATE INDEX users_expr_idx ON users (lower(in_expression));
ALTER TABLE users ADD CONSTRAINT users_tag_set CHECK (tag IS NOT NULL);
ALTER TABLE users ADD CONSTRAINT users_both_set CHECK (small IS NOT NULL AND small >= 0);
ALTER TABLE users ADD CONSTRAINT users_bio_set CHECK (bio IS NOT NULL) NOT VALID;
CREATE TRIGGER users_unchanged BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION unchanged();
CREATE POLICY users_all ON users USING (true);

CREATE TABLE orders (
  id bigint PRIMARY KEY,
  user_id bigint NOT NULL CONSTRAINT orders_user REFERENCES users,
  total numeric,
  status text,
  placed date NOT NULL,
  note varchar(50)
);
CREATE UNIQUE INDEX orders_placed_uq ON orders (placed, id);
CREATE UNIQUE INDEX orders_status_uq ON orders (status);

CREATE TABLE items (order_id bigint, product int, qty int, label text);
CREATE UNIQUE INDEX items_nullable_uq ON items (order_id);
CREATE UNIQUE INDEX items_product_uq ON items (product);
ALTER TABLE items ADD CONSTRAINT items_product_set CHECK (product IS NOT NULL);

CREATE TABLE measured (amount positive, n plain);
CREATE UNLOGGED TABLE cache (k text PRIMARY KEY, v text);

CREATE TABLE events (id bigint, at timestamptz NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE events_2022 (id bigint, at timestamptz NOT NULL, what text);
CREATE TABLE events_2023 (id bigint, at timestamptz NOT NULL, what text);
ALTER TABLE events_2023 ADD CONSTRAINT events_2023_bounds CHECK (at >= '2023-01-01' AND at < '2024-01-01');

CREATE TABLE logs (id bigint, level text) PARTITION BY LIST (level);
CREATE TABLE logs_info PARTITION OF logs FOR VALUES IN ('info');
CREATE TABLE logs_rest PARTITION OF logs DEFAULT;

CREATE VIEW user_names AS SELECT email FROM users;
CREATE MATERIALIZED VIEW user_ages AS SELECT other_id AS age, count(*) AS n FROM users GROUP BY other_id;
CREATE UNIQUE INDEX user_ages_age ON user_ages (age);
CREATE SEQUENCE numbers;
CREATE SCHEMA attic;
CREATE TABLE attic.old_users (id bigint PRIMARY KEY, name text);
CREATE PUBLICATION news FOR TABLE users;
