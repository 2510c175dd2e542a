//! Many rows of a table read, stored or changed with one statement.
//!
//! A database prepares a statement once for each text, which for many rows costs as much as what it does. So there are few
//! texts: as many rows as a power of two, those that are too many doing nothing.

use std::fmt::Write as _;

use sea_orm::{
    ConnectionTrait as _, DatabaseTransaction, DbBackend, DbErr, EntityTrait, IdenStatic as _, Iterable as _,
    ModelTrait, Statement, Value,
};

/// How many rows one statement stores or changes: SQLite takes 32,766 parameters.
const AT_ONCE: usize = 256;

/// Repeats the last one of a list until there are as many as a power of two, for a condition that names any of them.
pub(super) fn padded<T: Clone>(list: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut list: Vec<T> = list.into_iter().collect();
    if let Some(last) = list.last().cloned() {
        list.resize(list.len().next_power_of_two(), last);
    }
    list
}

/// Stores new rows.
pub(super) async fn insert<M: ModelTrait>(
    transaction: &DatabaseTransaction,
    rows: &[M],
) -> Result<(), DbErr> {
    let mut writes = Writes::new(transaction, rows.len());
    writes.insert(rows);
    writes.run(transaction).await?;
    Ok(())
}

/// Statements of many rows each. SQLite's thread is sent all of them at once: to hand it one and to hear of its end takes as long
/// as many of them do. PostgreSQL is sent one after the other.
pub(super) struct Writes {
    backend: DbBackend,
    /// So many rows at least each statement is made for, so that there are few texts of all of them together.
    rows: usize,
    statements: Vec<(String, Vec<Value>)>,
    /// How many rows are stored or changed.
    expected: u64,
}

impl Writes {
    /// Begins with nothing to do; most of the statements are of so many rows.
    pub fn new(transaction: &DatabaseTransaction, rows: usize) -> Self {
        let rows = rows.clamp(1, AT_ONCE).next_power_of_two();
        Self { backend: transaction.get_database_backend(), rows, statements: Vec::new(), expected: 0 }
    }

    /// Stores new rows. Columns that are empty in all of them are left out, and so are the rows that only make a power of two of
    /// them: the first column of a table is empty in none that is stored.
    pub fn insert<M: ModelTrait>(&mut self, rows: &[M]) {
        self.expected += rows.len() as u64;
        for rows in rows.chunks(AT_ONCE) {
            let columns: Vec<_> = <M::Entity as EntityTrait>::Column::iter().collect();
            let mut values: Vec<Value> =
                rows.iter().flat_map(|row| columns.iter().map(|column| row.get(*column))).collect();
            let of_column = |n: usize| values.iter().skip(n).step_by(columns.len());
            let used: Vec<bool> = (0..columns.len()).map(|n| of_column(n).any(|it| !is_empty(it))).collect();
            let names = columns.iter().zip(&used).filter(|(_, used)| **used);
            let names: Vec<_> = names.map(|(column, _)| format!("\"{}\"", column.as_str())).collect();
            let places_of = self.places_of(rows.len());
            let left_out = places_of - rows.len();
            let sql = format!(
                "INSERT INTO \"{}\" ({}) SELECT * FROM (VALUES {}) AS given WHERE given.column1 IS NOT NULL",
                M::Entity::default().as_str(),
                names.join(", "),
                places(self.backend, places_of, names.len(), |_| "")
            );
            let empty: Vec<Value> = values.iter().take(columns.len()).map(Value::as_null).collect();
            values.extend(empty.iter().cycle().take(left_out * columns.len()).cloned());
            let values = values.into_iter().zip(used.iter().cycle()).filter(|(_, used)| **used);
            self.statements.push((sql, values.map(|(value, _)| value).collect()));
        }
    }

    /// Changes rows, each of which is there, and given once.
    pub fn update<const COLUMNS: usize>(
        &mut self,
        update: &Update<COLUMNS>,
        rows: impl IntoIterator<Item = [Value; COLUMNS]>,
    ) {
        let rows: Vec<_> = rows.into_iter().collect();
        self.expected += rows.len() as u64;
        for rows in rows.chunks(AT_ONCE) {
            let mut rows = rows.to_vec();
            // A row that is given twice is changed once.
            if let Some(last) = rows.last().cloned() {
                rows.resize(self.places_of(rows.len()), last);
            }
            let sql = update.sql(self.backend, rows.len());
            self.statements.push((sql, rows.into_iter().flatten().collect()));
        }
    }

    /// Does all of it, and tells whether each row was stored or changed.
    pub async fn run(self, transaction: &DatabaseTransaction) -> Result<bool, DbErr> {
        let mut done = 0;
        let statements = if self.backend == DbBackend::Sqlite && self.statements.len() > 1 {
            let (texts, values): (Vec<_>, Vec<_>) = self.statements.into_iter().unzip();
            vec![(texts.join(";"), values.into_iter().flatten().collect())]
        } else {
            self.statements
        };
        for (sql, values) in statements {
            let statement = Statement::from_sql_and_values(self.backend, sql, values);
            done += transaction.execute_raw(statement).await?.rows_affected();
        }
        Ok(done == self.expected)
    }

    fn places_of(&self, rows: usize) -> usize {
        rows.max(self.rows).next_power_of_two()
    }
}

fn is_empty(value: &Value) -> bool {
    *value == value.as_null()
}

/// What is changed, each row to values of its own.
pub(super) struct Update<const COLUMNS: usize> {
    pub table: &'static str,
    /// The columns, of which the first says which row.
    pub columns: [&'static str; COLUMNS],
    /// Their types, as PostgreSQL calls them: of values in a list it knows none.
    pub types: [&'static str; COLUMNS],
    /// The one whose values are added to what is there.
    pub added: Option<&'static str>,
}

impl<const COLUMNS: usize> Update<COLUMNS> {
    fn sql(&self, backend: DbBackend, rows: usize) -> String {
        let Self { table, columns, types, added } = self;
        // Both databases call the columns of a list of values so.
        let sets: Vec<_> = (1..COLUMNS)
            .map(|n| {
                let (column, value) = (columns[n], format!("given.column{}", n + 1));
                if *added == Some(column) {
                    format!("\"{column}\" = \"{table}\".\"{column}\" + {value}")
                } else {
                    format!("\"{column}\" = {value}")
                }
            })
            .collect();
        format!(
            "UPDATE \"{table}\" SET {} FROM (VALUES {}) AS given WHERE \"{table}\".\"{}\" = given.column1",
            sets.join(", "),
            places(backend, rows, COLUMNS, |n| types[n]),
            columns[0]
        )
    }
}

/// Writes the places of the values of rows.
fn places(backend: DbBackend, rows: usize, columns: usize, kind: impl Fn(usize) -> &'static str) -> String {
    let mut text = String::with_capacity(rows * columns * 6);
    for row in 0..rows {
        text += if row == 0 { "(" } else { ", (" };
        for n in 0..columns {
            text += if n == 0 { "" } else { ", " };
            if backend != DbBackend::Postgres {
                text += "?";
                continue;
            }
            // Nothing fails that writes into memory.
            let _ = write!(text, "${}", row * columns + n + 1);
            if !kind(n).is_empty() {
                let _ = write!(text, "::{}", kind(n));
            }
        }
        text += ")";
    }
    text
}
