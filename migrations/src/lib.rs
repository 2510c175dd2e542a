//! The schema of the Grapnel database, for SQLite and PostgreSQL.
