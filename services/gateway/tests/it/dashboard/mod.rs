//! The dashboard's pages, as a browser without scripts has them.

mod attacks;
mod deployments;
mod sign_in;
