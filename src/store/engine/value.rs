//! What crosses the border to a database: five kinds of value, and rows read by column name.
//!
//! The only place where the type systems of Rust, SQLite and PostgreSQL meet. A typed value has one
//! `From` (to store it) and one [`Column`] (to read it), nothing per engine; ids and fingerprints have theirs here.

use std::cell::Cell;
use std::error::Error as StdError;
use std::fmt;

use bytes::BytesMut;
use rusqlite::types::{ToSqlOutput, ValueRef};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::domain::ids::Id;
use crate::domain::secret::Fingerprint;
use crate::error::{Error, Result};

/// A parameter or a column's content, borrowed. `Debug` says the kind, never the content.
#[derive(Clone, Copy, PartialEq)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// The parameters of a statement, `$1` first: `params![account.id, name.as_deref()]`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$($crate::store::engine::Value::from($value)),*]
    };
}

/// What a column may be read as. A newtype reads its inner type and checks it.
pub trait Column<'r>: Sized {
    /// The typed value, or `None` if this is not one.
    fn read(value: Value<'r>) -> Option<Self>;
}

/// One row of an answer, lent to the reader for as long as it looks at it.
pub struct Row<'r>(pub(super) Source<'r>);

pub(super) enum Source<'r> {
    Sqlite(&'r rusqlite::Row<'r>, &'r Names),
    Postgres(&'r tokio_postgres::Row),
}

/// The names of a statement's columns. Asked by name, the driver would read every name anew for every
/// column of every row.
pub(super) struct Names {
    names: Vec<Box<str>>,
    /// Columns are mostly read in the order of the statement: where the next one is looked for first.
    next: Cell<usize>,
}

impl Names {
    pub fn of(statement: &rusqlite::Statement<'_>) -> Self {
        Self { names: statement.column_names().map(Box::from).collect(), next: Cell::new(0) }
    }

    fn place(&self, column: &str) -> Option<usize> {
        let first = self.next.get();
        let is = |place: &usize| self.names.get(*place).is_some_and(|name| **name == *column);
        let place = (first..self.names.len()).chain(0..first).find(is)?;
        self.next.set(place + 1);
        Some(place)
    }
}

impl Row<'_> {
    /// The column with this name. A missing column or another type is an internal error.
    pub fn get<'a, T: Column<'a>>(&'a self, column: &str) -> Result<T> {
        let value = match self.0 {
            Source::Sqlite(row, names) => {
                let missing = || Error::internal(format_args!("the answer has no column {column}"));
                let place = names.place(column).ok_or_else(missing)?;
                row.get_ref(place).map_err(|cause| unreadable(column, &cause)).and_then(from_sqlite)
            }
            Source::Postgres(row) => row.try_get(column).map_err(|cause| unreadable(column, &cause)),
        }?;
        T::read(value).ok_or_else(|| {
            Error::internal(format_args!(
                "the database holds {value:?} in column {column} that cannot be read as {}",
                std::any::type_name::<T>()
            ))
        })
    }
}

fn unreadable(column: &str, cause: &dyn StdError) -> Error {
    let detail = cause.source().map(|source| format!(": {source}")).unwrap_or_default();
    Error::internal(format_args!("reading column {column}: {cause}{detail}"))
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Value::Null => "a null",
            Value::Bool(_) => "a boolean",
            Value::Int(_) => "an integer",
            Value::Text(_) => "a text",
            Value::Bytes(_) => "bytes",
        })
    }
}

// Rust to Value ----------------------------------------------------------------------------

macro_rules! value_from {
    ($($from:ty => |$name:ident| $value:expr;)*) => {
        $(impl<'a> From<$from> for Value<'a> {
            fn from($name: $from) -> Self {
                $value
            }
        })*
    };
}

value_from! {
    bool => |b| Value::Bool(b);
    i64 => |n| Value::Int(n);
    i32 => |n| Value::Int(n.into());
    u32 => |n| Value::Int(n.into());
    u16 => |n| Value::Int(n.into());
    &'a str => |s| Value::Text(s);
    &'a String => |s| Value::Text(s);
    &'a [u8] => |b| Value::Bytes(b);
    &'a Vec<u8> => |b| Value::Bytes(b);
}

impl<'a, const N: usize> From<&'a [u8; N]> for Value<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Value::Bytes(bytes)
    }
}

impl<'a> From<&'a Fingerprint> for Value<'a> {
    fn from(fingerprint: &'a Fingerprint) -> Self {
        fingerprint.as_bytes().into()
    }
}

impl<T: Id> From<T> for Value<'_> {
    fn from(id: T) -> Self {
        Value::Int(id.number())
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

// Value to Rust ----------------------------------------------------------------------------

impl Column<'_> for bool {
    fn read(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Bool(b) => Some(b),
            // SQLite has no booleans.
            Value::Int(0) => Some(false),
            Value::Int(1) => Some(true),
            Value::Null | Value::Int(_) | Value::Text(_) | Value::Bytes(_) => None,
        }
    }
}

impl Column<'_> for i64 {
    fn read(value: Value<'_>) -> Option<Self> {
        if let Value::Int(n) = value { Some(n) } else { None }
    }
}

impl<T: Id> Column<'_> for T {
    fn read(value: Value<'_>) -> Option<Self> {
        i64::read(value).and_then(T::from_number)
    }
}

impl<'r> Column<'r> for &'r str {
    fn read(value: Value<'r>) -> Option<Self> {
        if let Value::Text(text) = value { Some(text) } else { None }
    }
}

impl Column<'_> for String {
    fn read(value: Value<'_>) -> Option<Self> {
        <&str>::read(value).map(str::to_owned)
    }
}

impl<'r> Column<'r> for &'r [u8] {
    fn read(value: Value<'r>) -> Option<Self> {
        if let Value::Bytes(bytes) = value { Some(bytes) } else { None }
    }
}

impl Column<'_> for Vec<u8> {
    fn read(value: Value<'_>) -> Option<Self> {
        <&[u8]>::read(value).map(<[u8]>::to_vec)
    }
}

impl<const N: usize> Column<'_> for [u8; N] {
    fn read(value: Value<'_>) -> Option<Self> {
        <&[u8]>::read(value)?.try_into().ok()
    }
}

impl Column<'_> for Fingerprint {
    fn read(value: Value<'_>) -> Option<Self> {
        <[u8; 32]>::read(value).map(Self::from_bytes)
    }
}

impl<'r, T: Column<'r>> Column<'r> for Option<T> {
    fn read(value: Value<'r>) -> Option<Self> {
        if value == Value::Null { Some(None) } else { T::read(value).map(Some) }
    }
}

// SQLite -----------------------------------------------------------------------------------

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Value::Null => ValueRef::Null,
            Value::Bool(b) => ValueRef::Integer(b.into()),
            Value::Int(n) => ValueRef::Integer(n),
            // PostgreSQL stores no NUL in a text, so nobody may come to rely on it here.
            Value::Text(text) if text.contains('\0') => {
                return Err(rusqlite::Error::ToSqlConversionFailure("a text holds a NUL character".into()));
            }
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

fn from_sqlite(value: ValueRef<'_>) -> Result<Value<'_>> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(n) => Value::Int(n),
        ValueRef::Text(text) => {
            Value::Text(std::str::from_utf8(text).map_err(|cause| Error::caused("reading a text", cause))?)
        }
        ValueRef::Blob(bytes) => Value::Bytes(bytes),
        ValueRef::Real(_) => {
            return Err(Error::internal("a column holds a fraction; CAST it in the statement"));
        }
    })
}

// PostgreSQL -------------------------------------------------------------------------------

type Refusal = Box<dyn StdError + Sync + Send>;

impl ToSql for Value<'_> {
    /// The server has said what it wants for this parameter; anything else is our mistake.
    fn to_sql(&self, wanted: &Type, out: &mut BytesMut) -> std::result::Result<IsNull, Refusal> {
        match (*self, wanted) {
            (Value::Null, _) => Ok(IsNull::Yes),
            (Value::Bool(b), &Type::BOOL) => b.to_sql(wanted, out),
            (Value::Int(n), &Type::INT8) => n.to_sql(wanted, out),
            (Value::Int(n), &Type::INT4) => i32::try_from(n)?.to_sql(wanted, out),
            (Value::Int(n), &Type::INT2) => i16::try_from(n)?.to_sql(wanted, out),
            (Value::Text(text), &Type::TEXT | &Type::VARCHAR | &Type::NAME) => text.to_sql(wanted, out),
            (Value::Bytes(bytes), &Type::BYTEA) => bytes.to_sql(wanted, out),
            _ => Err(format!("{self:?} was given where the statement wants {wanted}").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'r> FromSql<'r> for Value<'r> {
    fn from_sql(found: &Type, raw: &'r [u8]) -> std::result::Result<Self, Refusal> {
        Ok(match *found {
            Type::BOOL => Value::Bool(bool::from_sql(found, raw)?),
            Type::INT8 => Value::Int(i64::from_sql(found, raw)?),
            Type::INT4 => Value::Int(i32::from_sql(found, raw)?.into()),
            Type::INT2 => Value::Int(i16::from_sql(found, raw)?.into()),
            Type::TEXT | Type::VARCHAR | Type::NAME => Value::Text(<&str>::from_sql(found, raw)?),
            Type::BYTEA => Value::Bytes(<&[u8]>::from_sql(found, raw)?),
            _ => return Err(format!("the column is of type {found}; CAST it in the statement").into()),
        })
    }

    fn from_sql_null(_: &Type) -> std::result::Result<Self, Refusal> {
        Ok(Value::Null)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
