INSERT INTO users SELECT n, 'u' || n, 'n' || n, 1 + n % 90, n, now(), now(), 'c', 'b', B'1', '10.0.0.0/8', false, '{}', 'fine',
                         n, '1 h', 'x', 'y', 'z', 't', 1, 1, n, ''
FROM generate_series(1, 1000) AS n;
INSERT INTO orders SELECT n, n, n, 's' || n, '2025-01-01', 'n' FROM generate_series(1, 1000) AS n;
INSERT INTO items SELECT n, n, n, 'l' FROM generate_series(1, 1000) AS n;
INSERT INTO measured SELECT n, n FROM generate_series(1, 1000) AS n;
INSERT INTO cache SELECT n, n FROM generate_series(1, 1000) AS n;
INSERT INTO events SELECT n, '2024-06-01', 'e' FROM generate_series(1, 1000) AS n;
INSERT INTO events SELECT n, '2025-06-01', 'e' FROM generate_series(1, 1000) AS n;
INSERT INTO events_2022 SELECT n, '2022-06-01', 'e' FROM generate_series(1, 1000) AS n;
INSERT INTO events_2023 SELECT n, '2023-06-01', 'e' FROM generate_series(1, 1000) AS n;
INSERT INTO logs SELECT n, 'info' FROM generate_series(1, 1000) AS n;
INSERT INTO logs SELECT n, 'odd' FROM generate_series(1, 1000) AS n;
INSERT INTO attic.old_users SELECT n, n FROM generate_series(1, 1000) AS n;
REFRESH MATERIALIZED VIEW user_ages;
