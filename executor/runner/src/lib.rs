//! The first process of every sandbox: takes steps, sends frames.
