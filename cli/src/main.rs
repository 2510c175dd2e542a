//! The one Grapnel binary: the services and the client commands.
fn main() {}
