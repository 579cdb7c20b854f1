// What would stay behind or change with a swap, and is refused by name before anything is touched.
#include "planner/model/sql_text.h"
#include "planner/steps/carry_privileges.h"
#include "planner/steps/column_counterparts.h"
#include "planner/steps/recipes.h"
#include "planner/steps/recipes_sync.h"
#include "planner/steps/swap_sql.h"
#include "planner/steps/sync_sql.h"

namespace pgbackfill::planner::recipes {
namespace {

constexpr int kVersionWithPartitionedNotValid = 180000;
constexpr int kVersionWithPublishedColumns = 150000;

using Refusals = std::vector<std::pair<std::string, std::string>>;

// SQL of a list of names, NULL where there is nothing to refuse; and what to say before it.
struct Refusal {
  char const* text;
  char const* list;
};

constexpr Refusal kDependents[] = {
    {"these views would go on reading the old table; drop them before, and create them again after: ",
     R"sql(SELECT string_agg(DISTINCT r.ev_class::pg_catalog.regclass::text, ', ') FROM pg_catalog.pg_depend d JOIN
       pg_catalog.pg_rewrite r ON r.oid = d.objid WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND
       d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid IN @old_tree@ AND r.ev_class NOT IN
       @old_tree@)sql"},
    {"rules are not carried over; drop them, or make triggers of them: ",
     R"sql(SELECT string_agg(pg_catalog.quote_ident(r.rulename), ', ') FROM pg_catalog.pg_rewrite r WHERE r.ev_class IN
       @old_tree@)sql"},
    // Whatever depends on the table or its row type and is none of its own parts.
    {"these know the table or its row type by number, and would go on with the old one; drop them before, and create "
     "them again after: ",
     R"sql(SELECT string_agg(DISTINCT pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid), ', ') FROM
       pg_catalog.pg_depend d LEFT JOIN pg_catalog.pg_class c ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
       AND
       c.oid = d.objid LEFT JOIN pg_catalog.pg_policy p ON d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass AND
       p.oid =
       d.objid LEFT JOIN pg_catalog.pg_trigger g ON d.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND g.oid =
       d.objid WHERE d.deptype <> 'i' AND (d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid IN
       @old_tree@
       AND (c.oid IS NULL OR c.relkind NOT IN ('i', 'I', 'S', 't', 'r', 'p')) AND coalesce(p.polrelid NOT IN
       @old_tree@, true) AND
       (g.oid IS NULL OR g.tgrelid NOT IN @old_tree@ AND NOT g.tgisinternal) AND d.classid NOT IN
       ('pg_catalog.pg_rewrite'::pg_catalog.regclass, 'pg_catalog.pg_constraint'::pg_catalog.regclass,
       'pg_catalog.pg_attrdef'::pg_catalog.regclass, 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass,
       'pg_catalog.pg_publication_rel'::pg_catalog.regclass) OR d.refclassid =
       'pg_catalog.pg_type'::pg_catalog.regclass AND
       d.refobjid IN (SELECT t.oid FROM pg_catalog.pg_type t JOIN pg_catalog.pg_class c ON c.oid IN @old_tree@ AND
       c.reltype
       IN
       (t.oid, t.typelem))))sql"},
    // The table as a constant, 'orders'::regclass, in what is of other tables and of the copy, or goes over to the
    // copy.
    {"these have the table as a constant of type regclass, and would go on with the old one; drop them before, and "
     "make "
     "them again after: ",
     R"sql(SELECT string_agg(DISTINCT pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid), ', ') FROM
       pg_catalog.pg_depend d LEFT JOIN pg_catalog.pg_class c ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
       AND c.oid = d.objid LEFT JOIN pg_catalog.pg_constraint k ON d.classid =
       'pg_catalog.pg_constraint'::pg_catalog.regclass AND k.oid = d.objid WHERE d.deptype = 'n' AND d.refobjsubid = 0
       AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid IN @old_tree@ AND (c.relkind IN
       ('i', 'I') OR k.contype = 'c' OR d.classid IN ('pg_catalog.pg_attrdef'::pg_catalog.regclass,
       'pg_catalog.pg_statistic_ext'::pg_catalog.regclass)))sql"},
    {"the table belongs to this, and the copy would not: ",
     R"sql(SELECT pg_catalog.pg_describe_object(d.refclassid, d.refobjid, 0) FROM pg_catalog.pg_depend d WHERE
  d.classid =
       'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = @old@ AND d.deptype = 'e' UNION ALL SELECT 'type ' ||
       c.reloftype::pg_catalog.regtype::text FROM pg_catalog.pg_class c WHERE c.oid = @old@ AND c.reloftype <> 0 LIMIT
       1)sql"},
    // Those that the table hands on are made anew, in the state that they have on the table. Up to 14 they count as
    // internal there.
    {"these triggers of partitions are of them alone, or are enabled otherwise than on the table, and no partition of "
     "the "
     "copy has the same; make them there, or let them be as on the table first: ",
     R"sql(SELECT string_agg(pg_catalog.format('%I of %s', g.tgname, g.tgrelid::pg_catalog.regclass), ', ' ORDER BY
       g.tgrelid::pg_catalog.regclass::text, g.tgname) FROM pg_catalog.pg_partition_tree(
       (@old@)::pg_catalog.oid::pg_catalog.regclass) t JOIN pg_catalog.pg_trigger g ON g.tgrelid = t.relid AND t.level
       > 0 JOIN pg_catalog.pg_proc f ON f.oid = g.tgfoid LEFT JOIN pg_catalog.pg_trigger o ON o.tgrelid = @old@ AND
       o.tgname = g.tgname AND g.tgparentid <> 0 WHERE NOT coalesce(o.tgisinternal, g.tgisinternal) AND
       f.pronamespace IS DISTINCT FROM pg_catalog.to_regnamespace('pgbackfill') AND g.tgenabled IS DISTINCT FROM
       o.tgenabled AND NOT EXISTS (SELECT FROM
       pg_catalog.pg_partition_tree((@new@)::pg_catalog.oid::pg_catalog.regclass) u JOIN pg_catalog.pg_trigger h ON
       h.tgrelid = u.relid AND u.level > 0 WHERE h.tgname = g.tgname AND h.tgfoid = g.tgfoid AND h.tgenabled =
       g.tgenabled))sql"},
    {"what these bring would not reach the copy; take the table out of them first: ",
     R"sql(SELECT string_agg(pg_catalog.pg_describe_object('pg_catalog.pg_subscription'::pg_catalog.regclass,
  r.srsubid, 0),
       ', ') FROM pg_catalog.pg_subscription_rel r WHERE r.srrelid = @old@)sql"},
};

// Foreign keys that refer to the table, without those of partitions, which go with their parents', and its own.
constexpr char kReferring[] =
    "pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.confrelid = @old@ AND k.conrelid <> k.confrelid AND "
    "k.conparentid = 0";

constexpr Refusal kKeys[] = {
    {"these foreign keys refer to the table and are NOT VALID; validate or drop them first: ",
     "SELECT string_agg(@key@, ', ') FROM @referring@ AND NOT k.convalidated"},
    {"the copy has no unique index over the columns that these foreign keys refer to; build it, or drop them: ",
     R"sql(SELECT string_agg(@key@, ', ') FROM @referring@ AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE
       i.indrelid = @new@ AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS
       NULL
       AND ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY x(number, place) JOIN
       pg_catalog.pg_attribute a ON a.attrelid = @new@ AND a.attnum = x.number WHERE x.place <= i.indnkeyatts ORDER BY
       1) =
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) x(number) JOIN pg_catalog.pg_attribute a ON a.attrelid =
       k.confrelid AND a.attnum = x.number ORDER BY 1)))sql"},
    {"these foreign keys of the copy refer to the table that it replaces; let them refer to the copy: ",
     R"sql(SELECT string_agg(pg_catalog.quote_ident(k.conname), ', ') FROM pg_catalog.pg_constraint k WHERE k.contype =
  'f'
       AND k.conrelid = @new@ AND k.confrelid = @old@)sql"},
};

constexpr Refusal kServerTriggers = {
    "the server's triggers of these constraints are disabled, or enabled otherwise than by themselves, and would not "
    "be on the copy; ALTER TABLE ... ENABLE TRIGGER them first, or drop the constraints: ",
    R"sql(SELECT string_agg(DISTINCT @key@, ', ') FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_trigger g ON
       g.tgconstraint = k.oid AND g.tgisinternal AND g.tgenabled <> 'O' WHERE k.conrelid IN (SELECT
       (@old@)::pg_catalog.oid UNION SELECT t.relid FROM pg_catalog.pg_partition_tree(
       (@old@)::pg_catalog.oid::pg_catalog.regclass) t) OR k.confrelid = @old@)sql"};

constexpr Refusal kKeysOfPartitions[] = {
    {"these foreign keys refer to partitions of the table, which stay with the kept one; drop them, or let them refer "
     "to "
     "the table: ",
     R"sql(SELECT string_agg(@key@ || ' to ' || k.confrelid::pg_catalog.regclass::text, ', ') FROM
       pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.conparentid = 0 AND k.confrelid IN @old_tree@ AND
       k.confrelid <> @old@ AND k.conrelid NOT IN @old_tree@)sql"},
    {"these publications have partitions of the table, which stay with the kept one; let them have the table instead: ",
     R"sql(SELECT string_agg(DISTINCT pg_catalog.quote_ident(p.pubname), ', ') FROM pg_catalog.pg_publication_rel r JOIN
       pg_catalog.pg_publication p ON p.oid = r.prpubid WHERE r.prrelid IN @old_tree@ AND r.prrelid <> @old@)sql"},
};

constexpr Refusal kPartitionedKeys = {
    "before PostgreSQL 18 a foreign key of a partitioned table cannot be added without a scan under a lock; drop these "
    "first: ",
    "SELECT string_agg(@key@, ', ') FROM @referring@ AND (SELECT c.relkind FROM pg_catalog.pg_class c WHERE c.oid = "
    "k.conrelid) = 'p'"};

constexpr Refusal kColumns[] = {
    {"these columns are NOT NULL, and of the copy they are not; set_not_null on the copy first: ",
     R"sql(SELECT string_agg(pg_catalog.quote_ident(o.attname), ', ' ORDER BY o.attnum) FROM pg_catalog.pg_attribute o
  JOIN
       pg_catalog.pg_attribute n ON n.attrelid = @new@ AND n.attname = o.attname AND n.attnum > 0 WHERE o.attrelid =
       @old@ AND
       o.attnum > 0 AND (o.attnotnull OR @type_refuses_null_o@) AND NOT @type_refuses_null_n@ AND (NOT n.attnotnull OR
       @is_not_valid_n@ AND NOT @is_not_valid_o@))sql"},
    {"these columns are generated, and of the copy they are not, or by another expression; generate them there, or "
     "DROP "
     "EXPRESSION of the table first: ",
     R"sql(SELECT string_agg(pg_catalog.quote_ident(o.attname), ', ' ORDER BY o.attnum) FROM pg_catalog.pg_attribute o
  JOIN
       pg_catalog.pg_attribute n ON n.attrelid = @new@ AND n.attname = o.attname AND n.attnum > 0 WHERE o.attrelid =
       @old@ AND
       o.attnum > 0 AND o.attgenerated <> '' AND (n.attgenerated <> o.attgenerated OR (SELECT
       pg_catalog.pg_get_expr(d.adbin,
       d.adrelid) FROM pg_catalog.pg_attrdef d WHERE d.adrelid = @old@ AND d.adnum = o.attnum) <> (SELECT
       pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d WHERE d.adrelid = @new@ AND d.adnum =
       n.attnum)))sql"},
    {"these columns are not generated, and of the copy they are; what is written into them would be refused: ",
     R"sql(SELECT string_agg(pg_catalog.quote_ident(o.attname), ', ' ORDER BY o.attnum) FROM pg_catalog.pg_attribute o
  JOIN
       pg_catalog.pg_attribute n ON n.attrelid = @new@ AND n.attname = o.attname AND n.attnum > 0 WHERE o.attrelid =
       @old@ AND
       o.attnum > 0 AND o.attgenerated = '' AND n.attgenerated <> '')sql"},
    {"the copy is not logged as the table is; ALTER TABLE ... SET LOGGED or UNLOGGED first: ",
     R"sql(SELECT string_agg(t.oid::pg_catalog.regclass::text, ', ') FROM pg_catalog.pg_class t WHERE (t.oid = @new@ OR
  t.oid
       IN (SELECT relid FROM pg_catalog.pg_partition_tree((@new@)::pg_catalog.regclass))) AND t.relkind = 'r' AND
       t.relpersistence <> (SELECT CASE WHEN c.relkind = 'r' THEN c.relpersistence ELSE t.relpersistence END FROM
       pg_catalog.pg_class c WHERE c.oid = @old@))sql"},
    {"REPLICA IDENTITY of the table is an index; a partitioned copy cannot take that over: choose one for each "
     "partition, and REPLICA IDENTITY FULL, NOTHING or DEFAULT for the table, before: ",
     R"sql(SELECT t.relname::text FROM pg_catalog.pg_class t, pg_catalog.pg_class c WHERE t.oid = @new@ AND t.relkind =
  'p'
       AND c.oid = @old@ AND c.relreplident = 'i')sql"},
};

// @domain_checks@ is a list of what the domain of column o asks for and column n of the copy does not.
constexpr Refusal kDomains = {
    "the domains of these columns check their values, and the copy does not; add_check the same there first: ",
    R"sql(SELECT string_agg(pg_catalog.quote_ident(o.attname) || ' ' || l.checks, ', ' ORDER BY o.attnum) FROM
      pg_catalog.pg_attribute o JOIN pg_catalog.pg_attribute n ON n.attrelid = @new@ AND n.attname = o.attname AND
      n.attnum > 0, LATERAL (@domain_checks@) l (checks) WHERE o.attrelid = @old@ AND o.attnum > 0 AND o.atttypid <>
      n.atttypid AND l.checks IS NOT NULL)sql"};

constexpr Refusal kStatisticsOwners = {
    "these statistics objects belong to roles that the session cannot act as; change their owner, or run this as a "
    "role "
    "that has them: ",
    R"sql(SELECT string_agg(pg_catalog.quote_ident(s.stxname) || ' of ' || s.stxowner::pg_catalog.regrole::text, ', ')
      FROM pg_catalog.pg_statistic_ext s WHERE s.stxrelid = @old@ AND NOT pg_catalog.pg_has_role(s.stxowner,
      'USAGE'))sql"};

// An identity gets the name of the sequence that it replaces. Who knows that by number would go on with the other one.
constexpr Refusal kSequences[] = {
    {"these use a sequence of the table by number, which an identity of the copy cannot take over; let the copy's "
     "column "
     "have the same default instead of an identity, or drop these first: ",
     R"sql(SELECT string_agg(DISTINCT pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) || ' (' ||
       s.id::pg_catalog.regclass::text || ')', ', ') FROM (@exchanged@) s JOIN pg_catalog.pg_depend d ON d.refclassid =
       'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = s.id AND d.deptype = 'n' WHERE NOT EXISTS (SELECT
       FROM
       pg_catalog.pg_attrdef f WHERE d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND f.oid = d.objid AND
       f.adrelid = @old@))sql"},
    {"these sequences are in another schema than the copy, whose identity could not get their names; let the copy's "
     "column have the same default instead: ",
     R"sql(SELECT string_agg(DISTINCT s.id::pg_catalog.regclass::text, ', ') FROM (@exchanged@) s JOIN
  pg_catalog.pg_class q
       ON q.oid = s.id JOIN pg_catalog.pg_class c ON c.oid = @new@ WHERE q.relnamespace <> c.relnamespace)sql"},
    {"these sequences belong to other roles, so that they cannot follow the table; change their owner, or run this as "
     "a role that has it: ",
     R"sql(SELECT string_agg(DISTINCT s.id::pg_catalog.regclass::text, ', ') FROM (@drawn@) s JOIN pg_catalog.pg_class
  q ON
       q.oid = s.id WHERE NOT pg_catalog.pg_has_role(q.relowner, 'USAGE'))sql"},
};

// Sequences that columns of the table draw from or own; @exchanged@: where the copy's column is or becomes an identity.
constexpr char kDrawn[] = R"sql(SELECT q.seqrelid AS id, a.attname, a.attidentity FROM pg_catalog.pg_sequence q JOIN
  pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = q.seqrelid AND
  d.refclassid =
  'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = @old@ AND d.deptype IN ('a', 'i') JOIN
  pg_catalog.pg_attribute a
  ON a.attrelid = @old@ AND a.attnum = d.refobjsubid UNION SELECT q.seqrelid, a.attname, a.attidentity FROM
  pg_catalog.pg_sequence q JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND
  d.refobjid = q.seqrelid AND d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass JOIN pg_catalog.pg_attrdef f ON
  f.oid =
  d.objid AND f.adrelid = @old@ JOIN pg_catalog.pg_attribute a ON a.attrelid = @old@ AND a.attnum = f.adnum)sql";
constexpr char kExchanged[] =
    R"sql(SELECT s.id FROM (@drawn@) s JOIN pg_catalog.pg_attribute n ON n.attrelid = @new@ AND
  n.attname = s.attname AND n.attnum > 0 WHERE n.attidentity <> '' OR s.attidentity <> '')sql";

// @filter@: the columns and rows of a publication's table r, as text.
constexpr Refusal kPublications[] = {
    {"the table is in publications that the copy is not in, or with other columns or rows; ALTER PUBLICATION ... ADD "
     "TABLE "
     "it as the table is (DROP TABLE it first if it is there), and let subscribers REFRESH PUBLICATION afterwards: ",
     R"sql(SELECT string_agg(pg_catalog.quote_ident(p.pubname) || coalesce(' (' || nullif(@filter@, '') || ')', ''),
  ', ')
       FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid WHERE r.prrelid =
       @old@ AND
       NOT EXISTS (SELECT FROM pg_catalog.pg_publication_rel o WHERE o.prpubid = r.prpubid AND o.prrelid = @new@ AND
       @filter@ = (SELECT @filter@ FROM (SELECT o.*) r)))sql"},
    {"these publications would publish the partitions of the copy under their own names; set "
     "publish_via_partition_root first: ",
     R"sql(SELECT string_agg(pg_catalog.quote_ident(p.pubname), ', ') FROM pg_catalog.pg_publication p JOIN
       pg_catalog.pg_class c ON c.oid = @new@ AND c.relkind = 'p' WHERE NOT p.pubviaroot AND EXISTS (SELECT FROM
       pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid = @old@) AND (SELECT relkind FROM
       pg_catalog.pg_class WHERE oid = @old@) = 'r')sql"},
};

constexpr char kFilter[] =
    R"sql(pg_catalog.concat_ws(' ', (SELECT string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER
  BY a.attname) FROM pg_catalog.pg_attribute a WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs::int2[])),
  'WHERE '
  || pg_catalog.pg_get_expr(r.prqual, r.prrelid)))sql";

constexpr char kPolicies[] = R"sql((SELECT coalesce(string_agg(ROW(p.polname, p.polcmd, p.polpermissive, p.polroles,
  pg_catalog.pg_get_expr(p.polqual, p.polrelid), pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid))::text, '' ORDER BY
  p.polname), '') || c.relrowsecurity || c.relforcerowsecurity FROM pg_catalog.pg_class c LEFT JOIN
  pg_catalog.pg_policy p ON
  p.polrelid = c.oid WHERE c.oid = @side@ GROUP BY c.relrowsecurity, c.relforcerowsecurity))sql";

constexpr char kUnequalPolicies[] = R"sql((SELECT string_agg(pg_catalog.format('%I of %s', p.polname,
  p.polrelid::pg_catalog.regclass), ', ' ORDER BY p.polname) FROM pg_catalog.pg_policy p WHERE p.polrelid IN (@old@,
  @new@) AND NOT EXISTS (SELECT FROM pg_catalog.pg_policy q WHERE q.polrelid IN (@old@, @new@) AND q.polrelid <>
  p.polrelid AND q.polname = p.polname AND q.polcmd = p.polcmd AND q.polpermissive = p.polpermissive AND q.polroles =
  p.polroles AND (pg_catalog.pg_get_expr(q.polqual, q.polrelid), pg_catalog.pg_get_expr(q.polwithcheck, q.polrelid)) IS
  NOT DISTINCT FROM (pg_catalog.pg_get_expr(p.polqual, p.polrelid), pg_catalog.pg_get_expr(p.polwithcheck,
  p.polrelid)))))sql";

void put(std::string& text, std::string_view what, std::string const& by) {
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size())) {
    text.replace(at, what.size(), by);
  }
}

// NOT NULL that is NOT VALID, which PostgreSQL 18 has.
std::string is_not_valid(std::string const& attribute) {
  return "EXISTS (SELECT FROM pg_catalog.pg_constraint v WHERE v.contype = 'n' AND v.conrelid = " + attribute +
         ".attrelid AND v.conkey = ARRAY[" + attribute + ".attnum] AND NOT v.convalidated)";
}

// A domain may be NOT NULL, which a column of another type is not by itself.
std::string type_refuses_null(std::string const& attribute) {
  return "EXISTS (SELECT FROM pg_catalog.pg_type y WHERE y.oid = " + attribute + ".atttypid AND y.typnotnull)";
}

std::string list_of(char const* sql, StepFacts const& facts, SwapSides const& sides) {
  std::string text = sql;
  put(text, "@old_tree@",
      "(SELECT (@old@)::pg_catalog.oid UNION SELECT t.relid FROM pg_catalog.pg_partition_tree((@old@)"
      "::pg_catalog.oid::pg_catalog.regclass) t)");
  put(text, "@domain_checks@", unmet_domain_checks("o.atttypid", "n.atttypid", "n.attrelid", "n.attname"));
  put(text, "@exchanged@", kExchanged);
  put(text, "@drawn@", kDrawn);
  put(text, "@referring@", kReferring);
  put(text, "@key@", "pg_catalog.quote_ident(k.conname) || ' of ' || k.conrelid::pg_catalog.regclass::text");
  for (std::string const side : {"n", "o"}) put(text, "@type_refuses_null_" + side + "@", type_refuses_null(side));
  put(text, "@is_not_valid_n@", is_not_valid("n"));
  put(text, "@is_not_valid_o@", is_not_valid("o"));
  put(text, "@filter@", facts.server_version < kVersionWithPublishedColumns ? "''" : kFilter);
  return "(" + with_sides(text, sides) + ")";
}

void refuse(Refusals& refusals, Refusal const& refusal, StepFacts const& facts, SwapSides const& sides) {
  auto const list = list_of(refusal.list, facts, sides);
  refusals.emplace_back(list + " IS NOT NULL", quote_literal(refusal.text) + " || " + list);
}

std::string policies_of(std::string const& side) {
  std::string text = kPolicies;
  put(text, "@side@", side);
  return text;
}

// Those of columns that the copy lacks stay behind with them. Of a sequence that an identity replaces, too.
void refuse_grants(Refusals& refusals, StepFacts const& facts, SwapSides const& sides) {
  std::string const of_tables = "SELECT p.* FROM (" + privileges_of("r", sides.old_oid) +
                                ") p WHERE p.col IS NULL OR EXISTS (SELECT FROM pg_catalog.pg_attribute x WHERE "
                                "x.attrelid = " +
                                sides.new_oid + " AND x.attname = p.col AND NOT x.attisdropped) UNION " +
                                privileges_of("r", sides.new_oid);
  std::string const of_sequences =
      "SELECT p.* FROM (" + std::string(kExchanged) + ") s (id), LATERAL (" + privileges_of("s", "s.id") + ") p";
  auto const list = list_of(
      unkept_grants(of_tables + " UNION " + of_sequences, sides.old_oid, facts.server_version).c_str(), facts, sides);
  refusals.emplace_back(list + " IS NOT NULL", quote_literal(kUnkeptGrants) + " || " + list);
}

// Whose name is to be given to another constraint of the copy.
Refusal const kTakenNames = {
    "these constraints of the copy have the names of others of the table, which go over to what corresponds to them; "
    "rename these first: ",
    "SELECT string_agg(DISTINCT pg_catalog.quote_ident(k.conname), ', ') FROM (@pairs@) p JOIN "
    "pg_catalog.pg_constraint k ON "
    "k.conname = p.old_title AND k.conrelid = @new@ WHERE p.kind <> 'statistics' AND p.old_title <> p.new_title"};

void refuse_relations(Refusals& refusals, Swap const& step, TableName const& table, SwapSides const& sides) {
  TableName const with{table.schema, step.with.name};
  for (auto const* one : {&table, &with}) {
    for (auto& refusal : table_refusals(*one)) refusals.push_back(std::move(refusal));
  }
  refusals.emplace_back(oid_of(step.with) + " <> " + oid_of(with),
                        quote_literal(shown(step.with) + " is in another schema than " + shown(table)));
  refusals.emplace_back(has_relation(table, step.keep_as),
                        quote_literal("the name " + step.keep_as + " is taken already"));
  refusals.emplace_back(
      with_sides(
          "EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhrelid IN (@old@, @new@) OR h.inhparent = @old@ "
          "AND (SELECT c.relkind FROM pg_catalog.pg_class c WHERE c.oid = @old@) = 'r')",
          sides),
      quote_literal("a table that is a partition, or inherits, cannot be swapped"));
  refusals.emplace_back("NOT " + sync::trigger_is(table, sync_trigger_name(step.migration),
                                                  "g.tgenabled = 'A' AND " + sync::is_ours(step.migration)),
                        quote_literal("the mirror's trigger is not on " + shown(table)));
}

}  // namespace

std::vector<std::pair<std::string, std::string>> swap_refusals(Swap const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  auto const sides = sides_by_name(step, table);
  Refusals refusals;
  // Done, but for what comes after it.
  if (facts.is_claimed) refusals.emplace_back(oid_of(TableName{table.schema, step.with.name}) + " IS NULL", "NULL");
  refuse_relations(refusals, step, table, sides);
  for (auto const& refusal : kDependents) refuse(refusals, refusal, facts, sides);
  for (auto const& refusal : kKeys) refuse(refusals, refusal, facts, sides);
  for (auto const& refusal : kKeysOfPartitions) refuse(refusals, refusal, facts, sides);
  refuse(refusals, kServerTriggers, facts, sides);
  if (facts.server_version < kVersionWithPartitionedNotValid) refuse(refusals, kPartitionedKeys, facts, sides);
  for (auto const& refusal : kColumns) refuse(refusals, refusal, facts, sides);
  refuse(refusals, kDomains, facts, sides);
  refuse(refusals, kStatisticsOwners, facts, sides);
  for (auto const& refusal : kSequences) refuse(refusals, refusal, facts, sides);
  for (auto const& refusal : kPublications) refuse(refusals, refusal, facts, sides);
  refuse_grants(refusals, facts, sides);
  refusals.emplace_back(
      policies_of(sides.old_oid) + " <> " + policies_of(sides.new_oid),
      quote_literal("row level security of the copy is not that of the table; give the copy the same policies and "
                    "switches first") +
          " || coalesce(': ' || " + with_sides(kUnequalPolicies, sides) + ", '')");
  if (!facts.spelling.empty()) {
    std::string list = kTakenNames.list;
    put(list, "@pairs@", swap_pairs(quote_literal(facts.spelling) + "::jsonb -> 'parts'", sides));
    refuse(refusals, {kTakenNames.text, list.c_str()}, facts, sides);
  }
  return refusals;
}

std::vector<std::pair<std::string, std::string>> early_swap_refusals(Swap const& step, StepFacts const& facts) {
  auto const sides = sides_by_name(step, facts.table);
  // Once it is swapped, the name is that of the copy.
  Refusals refusals = {
      {"NOT " + has_relation(facts.table, step.with.name) + " AND " + has_relation(facts.table, step.keep_as), "NULL"}};
  for (auto const& refusal : kDependents) {
    // What the copy has to have may come with it.
    if (std::string_view(refusal.list).find("@new@") == std::string_view::npos) refuse(refusals, refusal, facts, sides);
  }
  for (auto const& refusal : kKeysOfPartitions) refuse(refusals, refusal, facts, sides);
  refuse(refusals, kServerTriggers, facts, sides);
  if (facts.server_version < kVersionWithPartitionedNotValid) refuse(refusals, kPartitionedKeys, facts, sides);
  refuse(refusals, kStatisticsOwners, facts, sides);
  return refusals;
}

// --- what `plan` says
// -------------------------------------------------------------------------------------------------

namespace {

constexpr char kNotes[] = R"sql(
SELECT @relation@ AS relation,
  'has columns that the copy lacks; they stay with the kept table, with what lies on them alone: '
  || string_agg(pg_catalog.quote_ident(o.attname) || coalesce(' (' || (SELECT string_agg(DISTINCT p.kind || ' ' ||
  pg_catalog.quote_ident(p.title), ', ') FROM (@parts@) p WHERE EXISTS (SELECT FROM (@columns@) u (name, is_there) WHERE
  u.name = o.attname) AND NOT EXISTS (SELECT FROM (@columns@) u (name, is_there) WHERE u.is_there)) || ')', ''), ', '
  ORDER BY
  o.attnum) AS words FROM pg_catalog.pg_attribute o WHERE o.attrelid = @old@ AND o.attnum > 0 AND NOT o.attisdropped
  AND NOT
  EXISTS (SELECT FROM pg_catalog.pg_attribute n WHERE n.attrelid = @new@ AND n.attname = o.attname AND n.attnum > 0) AND
  @new@ IS NOT NULL
UNION ALL SELECT @relation@,
  'has its columns in another order than the copy, which an INSERT without column names goes by: '
  || o.list || '; ' || n.list FROM (SELECT string_agg(a.attname, ', ' ORDER BY a.attnum) AS list FROM
  pg_catalog.pg_attribute a
  WHERE a.attrelid = @old@ AND a.attnum > 0 AND NOT a.attisdropped) o, (SELECT string_agg(a.attname, ', ' ORDER BY
  a.attnum) AS
  list FROM pg_catalog.pg_attribute a WHERE a.attrelid = @new@ AND a.attnum > 0 AND NOT a.attisdropped) n WHERE o.list
  <> n.list
UNION ALL SELECT @relation@,
  'has columns with a COLLATE of their own, which of the copy have that of their type; what is sorted, compared and '
  'unique may be another thing then: ' || string_agg(pg_catalog.quote_ident(o.attname), ', ' ORDER BY o.attnum) FROM
  pg_catalog.pg_attribute o JOIN pg_catalog.pg_type t ON t.oid = o.atttypid JOIN pg_catalog.pg_attribute n ON
  n.attrelid = @new@ AND n.attname = o.attname AND n.attnum > 0 JOIN pg_catalog.pg_type u ON u.oid = n.atttypid WHERE
  o.attrelid = @old@ AND o.attnum > 0 AND o.attcollation <> t.typcollation AND o.attcollation <> n.attcollation AND
  n.attcollation = u.typcollation AND u.typcollation <> 0 HAVING count(*) > 0
UNION ALL SELECT @relation@, 'is unique by ' || string_agg(pg_catalog.quote_ident(p.title), ', ' ORDER BY p.title) ||
  ', and the copy, which is partitioned, only together with its partition key' FROM (@parts@) p JOIN
  pg_catalog.pg_index i ON
  p.kind = 'index' AND i.indexrelid = p.id JOIN pg_catalog.pg_class c ON c.oid = @new@ AND c.relkind = 'p' WHERE
  i.indisunique
  AND EXISTS (SELECT FROM pg_catalog.pg_partitioned_table k, unnest(k.partattrs::int2[]) x (number) LEFT JOIN
  pg_catalog.pg_attribute a ON a.attrelid = @new@ AND a.attnum = x.number WHERE k.partrelid = @new@ AND (a.attname IS
  NULL OR
  a.attname NOT IN (SELECT u.name FROM (@columns@) u (name, is_there)))) HAVING count(*) > 0
UNION ALL SELECT @relation@,
  'is in another tablespace than the copy, or stored by another access method: the copy stays as it '
  'is' FROM pg_catalog.pg_class o, pg_catalog.pg_class n WHERE o.oid = @old@ AND n.oid = @new@ AND n.relkind = 'r' AND
  o.relkind = 'r' AND (o.reltablespace, o.relam) <> (n.reltablespace, n.relam)
UNION ALL SELECT @relation@, 'has indexes in tablespaces where the copy has none: ' || string_agg(pg_catalog.format(
  '%I in %I', x.relname, s.spcname), ', ' ORDER BY x.relname) FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON
  x.oid = i.indexrelid JOIN pg_catalog.pg_tablespace s ON s.oid = x.reltablespace WHERE i.indrelid = @old@ AND @new@ IS
  NOT NULL AND NOT EXISTS (SELECT FROM pg_catalog.pg_index j JOIN pg_catalog.pg_class y ON y.oid = j.indexrelid WHERE
  j.indrelid = @new@ AND y.reltablespace = x.reltablespace) HAVING count(*) > 0
UNION ALL SELECT @relation@, 'has partitions, which stay with the kept table, with what is theirs alone: ' ||
  string_agg(DISTINCT o.words, ', ') FROM pg_catalog.pg_partition_tree((@old@)::pg_catalog.oid::pg_catalog.regclass) t
  JOIN pg_catalog.pg_class c ON c.oid = t.relid AND t.level > 0, LATERAL (
  SELECT pg_catalog.format('constraint %I of %s', k.conname, c.oid::pg_catalog.regclass) FROM pg_catalog.pg_constraint k
    WHERE k.conrelid = c.oid AND k.conislocal AND k.coninhcount = 0 AND k.contype <> 'n'
  UNION ALL SELECT pg_catalog.format('index %I of %s', x.relname, c.oid::pg_catalog.regclass) FROM pg_catalog.pg_index i
    JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid AND NOT x.relispartition AND NOT EXISTS
    (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = x.oid AND k.conrelid = c.oid)
  UNION ALL SELECT pg_catalog.format('policy %I of %s', p.polname, c.oid::pg_catalog.regclass) FROM
  pg_catalog.pg_policy p
    WHERE p.polrelid = c.oid
  UNION ALL SELECT pg_catalog.format('statistics %I of %s', s.stxname, c.oid::pg_catalog.regclass) FROM
    pg_catalog.pg_statistic_ext s WHERE s.stxrelid = c.oid
  UNION ALL SELECT 'comment of ' || c.oid::pg_catalog.regclass::text WHERE pg_catalog.obj_description(c.oid, 'pg_class')
    IS NOT NULL
  UNION ALL SELECT 'privileges of ' || c.oid::pg_catalog.regclass::text WHERE c.relacl IS NOT NULL
  UNION ALL SELECT 'storage parameters of ' || c.oid::pg_catalog.regclass::text WHERE c.reloptions IS NOT NULL
  UNION ALL SELECT 'row level security of ' || c.oid::pg_catalog.regclass::text WHERE c.relrowsecurity
  ) o (words) HAVING count(*) > 0
UNION ALL SELECT @relation@, 'gives up its own foreign keys where it is kept, so that it neither refuses nor follows a '
  'DELETE of the rows that it refers to: ' || pg_catalog.string_agg(pg_catalog.format(
  '%I to %s', k.conname, k.confrelid::pg_catalog.regclass), ', ' ORDER BY k.conname) FROM pg_catalog.pg_constraint k
  WHERE k.conrelid = @old@ AND k.contype = 'f' AND k.confrelid <> @old@ HAVING count(*) > 0
UNION ALL SELECT @relation@, 'is marked for CLUSTER, which a partitioned copy cannot be' FROM pg_catalog.pg_index i
  WHERE
  i.indrelid = @old@ AND i.indisclustered AND (SELECT relkind FROM pg_catalog.pg_class WHERE oid = @new@) = 'p')sql";

}  // namespace

std::string swap_notes(Swap const& step, TableName const& table) {
  auto const sides = sides_by_name(step, table);
  std::string text = kNotes;
  put(text, "@parts@", swap_parts(sides.old_oid, sides));
  put(text, "@columns@", swap_columns_of_part(sides));
  put(text, "@relation@", quote_literal(quoted(table)));
  return with_sides(text, sides);
}

}  // namespace pgbackfill::planner::recipes
