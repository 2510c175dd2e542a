//! Messages in the JSON mapping of Protocol Buffers, by their descriptors.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

use crate::DESCRIPTORS;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(DESCRIPTORS)
        .unwrap_or_else(|error| unreachable!("compiled with this crate: {error}"))
});

/// Returns a message as JSON; `name` is its full name, such as `grapnel.hooks.v1.Hook`. Fields with their default value
/// are written too, so that programs find every field.
///
/// # Panics
/// The name is none of this crate's, or another message's.
pub fn to_json(name: &str, message: &impl Message) -> serde_json::Value {
    let descriptor = POOL.get_message_by_name(name).unwrap_or_else(|| unreachable!("{name} is no message"));
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice());
    let dynamic = dynamic.unwrap_or_else(|error| unreachable!("a {name} was just written: {error}"));
    let options = SerializeOptions::new().skip_default_fields(false);
    let json = dynamic.serialize_with_options(serde_json::value::Serializer, &options);
    json.unwrap_or_else(|error| unreachable!("every message has JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::v1::{Deployment, DeploymentState};

    #[test]
    fn a_message_is_written_with_names_of_enums_and_every_field() {
        let deployment = Deployment {
            id: "dpl_x".into(),
            state: DeploymentState::Ready.into(),
            created_at: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
            ..Deployment::default()
        };
        let json = to_json("grapnel.hooks.v1.Deployment", &deployment);
        assert_eq!(json["state"], "DEPLOYMENT_STATE_READY");
        assert_eq!(json["createdAt"], "1970-01-01T00:00:01Z");
        assert_eq!(json["attempt"], 0);
    }
}
