//! End-to-end tests of Grapnel over real processes, git, Docker and HTTP, and what other crates' tests share with
//! them.

pub mod git_repository;
pub mod git_server;
