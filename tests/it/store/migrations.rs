//! The product's own tables are the same on both engines.

use mailward::store::engine::schema;
use mailward::store::migrations::STEPS;

use crate::support::databases::{on_postgres, on_sqlite};

/// For the contract's views, which stand in files of their own beside SQLite.
const ON_POSTGRES_ALONE: &str = "index app_password app_password_of_account_idx (account_id)";

#[test]
fn both_engines_have_the_same_tables() {
    let (mut sqlite, mut postgres) = (Vec::new(), Vec::new());
    on_sqlite(STEPS, async |test| sqlite = schema(&test.db).await.unwrap());
    on_postgres(STEPS, async |test| postgres = schema(&test.db).await.unwrap());
    assert!(sqlite.contains(&"table migration".to_owned()), "{sqlite:#?}");
    let alone = postgres.iter().position(|line| line == ON_POSTGRES_ALONE);
    postgres.remove(alone.expect("the index of the contract's views"));
    assert_eq!(sqlite, postgres);
    let deferrable: Vec<_> = sqlite.iter().filter(|line| line.ends_with("DEFERRABLE")).collect();
    assert!(deferrable.is_empty(), "{deferrable:#?}");
}
