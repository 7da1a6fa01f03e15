//! What the tables are, told in the same lines by both engines, so that a test can hold one
//! against the other. A line that differs names the column, index or foreign key.

use super::{Db, EngineKind, params};
use crate::error::Result;

/// Tables, columns, keys, indexes, foreign keys and views, one line each, sorted.
///
/// Told: types (in PostgreSQL's words), nullability, defaults, numbering; indexes with their
/// columns, whether they are unique or partial; foreign keys with their actions, and
/// `DEFERRABLE`, which no table may have (a failure at COMMIT would take other changes along).
/// Not told: CHECK rules, the conditions of partial indexes, the texts of views; and the index of
/// trigrams, which each engine keeps in tables of its own kind.
pub async fn schema(db: &Db) -> Result<Vec<String>> {
    let mut tx = db.snapshot().await?;
    let asked = match tx.engine() {
        EngineKind::Sqlite => SQLITE,
        EngineKind::Postgres => POSTGRES,
    };
    let mut lines: Vec<String> = Vec::new();
    for sql in asked {
        lines.extend(tx.query_all(sql, params![], |row| row.get::<String>("line")).await?);
    }
    lines.retain(|line| !line.contains(" person_text"));
    lines.sort();
    Ok(lines)
}

const POSTGRES: &[&str] = &[
    "SELECT 'table ' || table_name AS line
     FROM information_schema.tables
     WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'",
    "SELECT 'column ' || c.table_name || '.' || c.column_name || ' ' || c.data_type
       || CASE WHEN c.is_nullable = 'NO' THEN ' not null' ELSE '' END
       || CASE WHEN c.is_identity = 'YES' THEN ' numbered' ELSE '' END
       || CASE WHEN c.column_default LIKE '%pg_current_xact_id()%' THEN ' default 0' -- none on SQLite
          WHEN c.column_default IS NOT NULL THEN ' default ' || lower(regexp_replace(c.column_default, '::[a-z ]+$', '')) ELSE '' END AS line
     FROM information_schema.columns c
     JOIN information_schema.tables t USING (table_schema, table_name)
     WHERE c.table_schema = current_schema() AND t.table_type = 'BASE TABLE'",
    "SELECT 'view ' || c.table_name || '.' || c.column_name AS line
     FROM information_schema.columns c
     JOIN information_schema.tables t USING (table_schema, table_name)
     WHERE c.table_schema = current_schema() AND t.table_type = 'VIEW'",
    "SELECT CASE WHEN i.indisprimary THEN 'primary key ' WHEN i.indisunique THEN 'unique ' ELSE 'index ' END
       || t.relname || ' ' || x.relname || ' ('
       || (SELECT string_agg(coalesce(a.attname, '(expression)'), ', ' ORDER BY k.place)
           FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place)
           LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number AND k.number > 0)
       || ')' || CASE WHEN i.indpred IS NOT NULL THEN ' partial' ELSE '' END AS line
     FROM pg_index i
     JOIN pg_class t ON t.oid = i.indrelid
     JOIN pg_class x ON x.oid = i.indexrelid
     WHERE t.relnamespace = current_schema()::regnamespace",
    "SELECT 'foreign key ' || t.relname
       || regexp_replace(replace(pg_get_constraintdef(c.oid), ' INITIALLY DEFERRED', ''), '^FOREIGN KEY', '')
       AS line
     FROM pg_constraint c
     JOIN pg_class t ON t.oid = c.conrelid
     WHERE c.contype = 'f' AND t.relnamespace = current_schema()::regnamespace",
];

const SQLITE: &[&str] = &[
    "SELECT 'table ' || name AS line FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    // A rowid alias is never null, though SQLite does not say so.
    "SELECT 'column ' || t.name || '.' || c.name || ' '
       || CASE lower(c.type) WHEN 'integer' THEN 'bigint' WHEN 'blob' THEN 'bytea' ELSE lower(c.type) END
       || CASE WHEN c.\"notnull\" OR (c.pk > 0 AND lower(c.type) = 'integer') THEN ' not null' ELSE '' END
       || CASE WHEN c.pk > 0 AND upper(t.sql) LIKE '%AUTOINCREMENT%' THEN ' numbered' ELSE '' END
       || CASE WHEN c.dflt_value IS NOT NULL THEN ' default ' || lower(c.dflt_value) ELSE '' END AS line
     FROM sqlite_schema t, pragma_table_info(t.name) c
     WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'",
    "SELECT 'view ' || t.name || '.' || c.name AS line
     FROM sqlite_schema t, pragma_table_info(t.name) c
     WHERE t.type = 'view'",
    "SELECT 'primary key ' || t.name || ' ' || t.name || '_pkey ('
       || (SELECT group_concat(c.name, ', ') FROM
           (SELECT name FROM pragma_table_info(t.name) WHERE pk > 0 ORDER BY pk) c) || ')' AS line
     FROM sqlite_schema t
     WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'
       AND EXISTS (SELECT 1 FROM pragma_table_info(t.name) WHERE pk > 0)",
    // A unique rule is told by the name that its violation reports, whatever the index is called.
    "SELECT CASE WHEN i.\"unique\"
         THEN 'unique ' || t.name || ' ' || t.name || '_'
           || (SELECT group_concat(coalesce(name, '(expression)'), '_') FROM
               (SELECT name FROM pragma_index_info(i.name) ORDER BY seqno)) || '_key'
         ELSE 'index ' || t.name || ' ' || i.name END
       || ' (' || (SELECT group_concat(coalesce(name, '(expression)'), ', ') FROM
                   (SELECT name FROM pragma_index_info(i.name) ORDER BY seqno)) || ')'
       || CASE WHEN i.partial THEN ' partial' ELSE '' END AS line
     FROM sqlite_schema t, pragma_index_list(t.name) i
     WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' AND i.origin <> 'pk'",
    "SELECT 'foreign key ' || t.name || ' ('
       || group_concat(f.\"from\", ', ' ORDER BY f.seq) || ') REFERENCES ' || f.\"table\" || '('
       || group_concat(coalesce(f.\"to\",
            (SELECT p.name FROM pragma_table_info(f.\"table\") p WHERE p.pk = f.seq + 1)), ', ' ORDER BY f.seq)
       || ')'
       || CASE f.on_update WHEN 'NO ACTION' THEN '' ELSE ' ON UPDATE ' || f.on_update END
       || CASE f.on_delete WHEN 'NO ACTION' THEN '' ELSE ' ON DELETE ' || f.on_delete END
       || CASE WHEN upper(t.sql) LIKE '%DEFERRABLE%' AND upper(t.sql) NOT LIKE '%NOT DEFERRABLE%'
          THEN ' DEFERRABLE' ELSE '' END AS line
     FROM sqlite_schema t, pragma_foreign_key_list(t.name) f
     WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'
     GROUP BY t.name, f.id",
];
