//! Typed identifiers.
//!
//! An id is a TypeID (<https://github.com/jetify-com/typeid>): a prefix that says what it names, `_`, and a
//! UUIDv7 in 26 characters of Crockford base32. Ids of one kind sort by the time of their making, which the
//! rules about "older" and "newer" deployments rely on.

use type_safe_id::{StaticType, TypeSafeId};

macro_rules! ids {
    ($($(#[$doc:meta])* $alias:ident = $kind:ident, $prefix:literal;)*) => {$(
        #[doc = concat!("The kind of `", $prefix, "_…` ids.")]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $kind;

        impl StaticType for $kind {
            const TYPE: &'static str = $prefix;
        }

        $(#[$doc])*
        pub type $alias = TypeSafeId<$kind>;
    )*};
}

ids! {
    /// Names a team.
    TeamId = TeamKind, "team";
    /// Names a project.
    ProjectId = ProjectKind, "prj";
    /// Names a hook.
    HookId = HookKind, "hook";
    /// Names one of a hook's tokens; it says nothing of the token itself.
    TokenId = TokenKind, "tok";
    /// Names an API key; it says nothing of the key itself.
    KeyId = KeyKind, "key";
    /// Names a session; it says nothing of its secret.
    SessionId = SessionKind, "ses";
    /// Names a row of the trigger ledger.
    TriggerId = TriggerKind, "trg";
    /// Names a deployment.
    DeploymentId = DeploymentKind, "dpl";
    /// Names a variable.
    VariableId = VariableKind, "var";
    /// Names a credential; it says nothing of what is in it.
    CredentialId = CredentialKind, "cred";
    /// Names an endpoint.
    EndpointId = EndpointKind, "ep";
    /// Names one of an endpoint's secrets; it says nothing of the secret itself.
    EndpointSecretId = EndpointSecretKind, "whs";
    /// Names an event that is sent to an endpoint.
    EventId = EventKind, "evt";
    /// Names one try to bring an event.
    DeliveryId = DeliveryKind, "dlv";
    /// Names what a git host is told about a commit.
    StatusId = StatusKind, "sts";
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    proptest! {
        #[test]
        fn an_id_reads_back_as_what_was_written(bits: u128) {
            let id = ProjectId::from_uuid(Uuid::from_u128(bits));
            prop_assert_eq!(id.to_string().parse::<ProjectId>().unwrap(), id);
        }

        #[test]
        fn text_sorts_as_ids_do(a: u128, b: u128) {
            let (a, b) = (DeploymentId::from_uuid(Uuid::from_u128(a)), DeploymentId::from_uuid(Uuid::from_u128(b)));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn reading_any_text_never_panics(text: String) {
            let _ = text.parse::<HookId>();
        }
    }

    #[test]
    fn an_id_of_another_kind_is_refused() {
        let id = HookId::from_uuid(Uuid::from_u128(7)).to_string();
        assert!(id.starts_with("hook_") && id.len() == "hook_".len() + 26);
        assert!(id.parse::<ProjectId>().is_err());
    }
}
