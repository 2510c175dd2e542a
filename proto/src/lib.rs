//! The wire contracts of Grapnel and their conversions to the domain.
//!
//! The `.proto` files under `proto/` are the contract; this crate compiles them and translates. Wire types stop
//! at a handler's first line: what comes in is converted (and refused, with the field named) at once, what goes
//! out is converted last. How the domain's errors look in gRPC stands in [`error`] and nowhere else.

pub mod convert;
pub mod error;
pub mod json;
mod secretive;

/// The encoded `FileDescriptorSet` of all contracts, imports included: for reflection and for JSON.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// What hooks services offer.
pub mod hooks {
    /// The first version.
    #[expect(
        missing_docs,
        unused_qualifications,
        clippy::allow_attributes,
        clippy::large_enum_variant,
        reason = "generated; the contract documents it"
    )]
    pub mod v1 {
        tonic::include_proto!("grapnel.hooks.v1");
    }
}

/// What executors offer.
pub mod executor {
    /// The first version.
    #[expect(
        missing_docs,
        unused_qualifications,
        clippy::allow_attributes,
        reason = "generated; the contract documents it"
    )]
    pub mod v1 {
        tonic::include_proto!("grapnel.executor.v1");
    }
}
