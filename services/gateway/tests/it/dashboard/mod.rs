//! The dashboard's pages, as a browser without scripts has them.

mod attacks;
mod sign_in;
