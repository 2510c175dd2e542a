//! What an operator asks of a database's schema, without a service that runs.

use grapnel_migrations::Schema;

use super::{
    OpenError,
    connecting::{Connecting, Opened, sqlite_file, without_password},
};

/// What the schema of a database is made of.
#[derive(Clone, Debug)]
pub struct DatabaseSchema {
    /// Where the database is, without a password.
    pub address: String,
    /// Its migrations.
    pub schema: Schema,
}

/// One connection does.
const FEW: u32 = 1;

/// Looks at the schema of a database and changes nothing; an SQLite database that is not there is not made.
///
/// # Errors
/// The database cannot be opened or read.
pub async fn database_schema(url: &str) -> Result<DatabaseSchema, OpenError> {
    let address = without_password(url);
    if sqlite_file(url).is_some_and(|file| !file.exists()) {
        return Ok(DatabaseSchema { address, schema: Schema::none() });
    }
    look(Opened::open(url, few()).await?, address).await
}

/// Brings the schema of a database up to date, and looks at it afterwards.
///
/// # Errors
/// The database cannot be opened, or a migration fails; then it is as it was before that one.
pub async fn migrate_database(url: &str) -> Result<DatabaseSchema, OpenError> {
    let opened = Opened::open(url, few()).await?;
    opened.migrate(url).await?;
    look(opened, without_password(url)).await
}

async fn look(opened: Opened, address: String) -> Result<DatabaseSchema, OpenError> {
    let schema = grapnel_migrations::schema(&opened.writer).await;
    let closed = opened.close().await;
    let refused = |cause| OpenError::Connect { address: address.clone(), cause };
    let schema = schema.map_err(refused)?;
    closed.map_err(refused)?;
    Ok(DatabaseSchema { address, schema })
}

fn few() -> Connecting {
    Connecting { connections: FEW, ..Connecting::default() }
}
