//! How an event proves where it comes from.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use grapnel_domain::{endpoint::EndpointSecret, id::EventId};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Signs one try, by each of these secrets: an endpoint that knows one of them finds its own. The form is `v1` of Standard
/// Webhooks 1.0.0, HMAC-SHA256 of id, time of the try in seconds since 1970, and body. `None` where a secret is none.
pub fn signatures(secrets: &[EndpointSecret], id: EventId, seconds: i64, body: &str) -> Option<String> {
    let signatures: Option<Vec<String>> =
        secrets.iter().map(|secret| sign(secret, id, seconds, body)).collect();
    signatures.map(|signatures| signatures.join(" ")).filter(|signatures| !signatures.is_empty())
}

fn sign(secret: &EndpointSecret, id: EventId, seconds: i64, body: &str) -> Option<String> {
    let mut code = Hmac::<Sha256>::new_from_slice(&secret.key()?).ok()?;
    code.update(format!("{id}.{seconds}.{body}").as_bytes());
    Some(format!("v1,{}", STANDARD.encode(code.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use grapnel_domain::SecretText;

    use super::*;

    #[test]
    fn each_secret_signs_for_itself_and_none_signs_nothing() {
        let id: EventId = "evt_01h455vb4pex5vsknk084sn02q".parse().unwrap();
        let secret = |byte: u8| {
            let text = format!("whsec_{}", STANDARD.encode([byte; 32]));
            EndpointSecret::parse(&SecretText::new(text)).unwrap()
        };
        let (old, new) = (secret(1), secret(2));
        let both = signatures(&[new.clone(), old.clone()], id, 1_700_000_000, "{}").unwrap();
        let alone = |secret| signatures(&[secret], id, 1_700_000_000, "{}").unwrap();
        assert_eq!(both, format!("{} {}", alone(new), alone(old)));
        assert_eq!(signatures(&[], id, 0, "{}"), None);
    }
}
