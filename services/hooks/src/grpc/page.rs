//! Page sizes and page tokens.
//!
//! A token names the list it belongs to, with its filters, and the last id of the page before. It is no secret and
//! grants nothing: the next page is asked for with the caller's own rights.

use std::{fmt::Display, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use grapnel_domain::{Error, Reason};

const DEFAULT_SIZE: u64 = 50;
const LARGEST: i32 = 200;

/// Returns how many things a page has.
///
/// # Errors
/// Less than none was asked for.
pub fn size(asked: i32) -> Result<u64, Error> {
    match u64::try_from(asked.min(LARGEST)) {
        Ok(0) => Ok(DEFAULT_SIZE),
        Ok(size) => Ok(size),
        Err(_) => Err(Error::invalid_field("page_size", "must be from 1 to 200; 0 is 50")),
    }
}

/// Reads the id that the page begins after; `None` for the first page.
///
/// # Errors
/// The token was not made by this list.
pub fn after<Id: FromStr>(list: &str, token: &str) -> Result<Option<Id>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let (of, id) = text.rsplit_once(' ')?;
        (of == list).then(|| id.parse().ok())?
    };
    let refused = || {
        Error::new(Reason::InvalidPageToken, "`page_token` is not one that this list, asked like this, gave")
    };
    read().map(Some).ok_or_else(refused)
}

/// Makes the token of the next page; empty after the last one.
pub fn next(list: &str, last: Option<impl Display>, more: bool) -> String {
    match last {
        Some(id) if more => URL_SAFE_NO_PAD.encode(format!("{list} {id}")),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use grapnel_domain::id::ProjectId;

    use super::*;

    #[test]
    fn a_token_continues_its_own_list_and_no_other() {
        let id: ProjectId = "prj_01h455vb4pex5vsknk084sn02q".parse().unwrap();
        let token = next("projects", Some(id), true);
        assert_eq!(after::<ProjectId>("projects", &token).unwrap(), Some(id));
        for (list, token) in [("hooks", token.as_str()), ("projects", "!!"), ("projects", "AAAA")] {
            assert_eq!(after::<ProjectId>(list, token).unwrap_err().reason, Reason::InvalidPageToken);
        }
        assert_eq!(after::<ProjectId>("projects", "").unwrap(), None);
        assert_eq!(next("projects", Some(id), false), "");
    }

    #[test]
    fn sizes_are_bounded() {
        assert_eq!([0, 1, 200, 100_000].map(|asked| size(asked).unwrap()), [50, 1, 200, 200]);
        assert!(size(-1).is_err());
    }
}
