//! The first label of a site's host name: a deployment, a project, or a branch of a project.
//!
//! A branch is served at `{project}--{branch}`. Where its name is itself a label of a host name it stands there as it is;
//! else what can be shown of it does, with eight digits of its hash. No project's name holds `--`, and no branch stands as it
//! is that ends as if a hash stood there, so that a label means one thing. Only two branches with the same eight digits can
//! have the same label.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::{BranchName, id::DeploymentId, name::ProjectName};

/// The most characters of a host name's label (RFC 1035, section 2.3.4).
const LABEL_LIMIT: usize = 63;

/// What stands between a project and a branch.
const BETWEEN: &str = "--";

/// How many digits of a branch's hash stand in a label.
const HASH_DIGITS: usize = 8;

/// What stands before a hash where nothing of the branch can be shown.
const NAMELESS: &str = "branch";

/// Eight hexadecimal digits of the SHA-256 of a branch's name: the first eight in a row that are not all decimal, which
/// tells them from a date.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BranchHash(String);

impl BranchHash {
    /// Returns a branch's.
    pub fn of(branch: &BranchName) -> Self {
        let digest = hex::encode(Sha256::digest(branch.as_str()));
        let mut runs = (0..=digest.len() - HASH_DIGITS).map(|from| &digest[from..from + HASH_DIGITS]);
        Self(runs.find(|run| is_hash(run)).unwrap_or(&digest[..HASH_DIGITS]).to_owned())
    }

    /// Returns the digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What the first label of a site's host name names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Site {
    /// A deployment, for good.
    Deployment(DeploymentId),
    /// A project's production branch.
    Project(ProjectName),
    /// A branch that stands in the label as it is.
    Branch(ProjectName, BranchName),
    /// A branch with this hash. Whoever has found it compares the whole label: [`branch_label`].
    Hashed(ProjectName, BranchHash),
}

impl Site {
    /// Reads a label; `None` names nothing that there could be.
    pub fn parse(label: &str) -> Option<Self> {
        if label.len() > LABEL_LIMIT {
            return None;
        }
        if let Ok(id) = label.parse() {
            return Some(Self::Deployment(id));
        }
        let Some((project, branch)) = label.split_once(BETWEEN) else {
            return label.parse().ok().map(Self::Project);
        };
        let project = project.parse().ok()?;
        match hash_at_end(branch) {
            Some(hash) => Some(Self::Hashed(project, BranchHash(hash.to_owned()))),
            None if is_label(branch) => Some(Self::Branch(project, BranchName::parse(branch).ok()?)),
            None => None,
        }
    }
}

/// Returns the label under which a branch is served.
pub fn branch_label(project: &ProjectName, branch: &BranchName) -> String {
    let room = LABEL_LIMIT - project.as_str().len() - BETWEEN.len();
    let name = branch.as_str();
    if name.len() <= room && is_label(name) && hash_at_end(name).is_none() {
        return format!("{project}{BETWEEN}{name}");
    }
    let shown = shown(name, room - HASH_DIGITS - 1);
    format!("{project}{BETWEEN}{shown}-{}", BranchHash::of(branch))
}

/// Returns what a host name can show of a branch, in at most so many characters.
fn shown(branch: &str, room: usize) -> String {
    let words = branch.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut shown = words.collect::<Vec<_>>().join("-").to_ascii_lowercase();
    shown.truncate(room);
    match shown.trim_end_matches('-') {
        "" => NAMELESS.to_owned(),
        shown => shown.to_owned(),
    }
}

/// Tells whether a text is of lower-case letters, digits and inner hyphens.
fn is_label(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(fits) && !text.starts_with('-') && !text.ends_with('-')
}

/// Returns the digits where a text ends as the label of a hashed branch does.
fn hash_at_end(text: &str) -> Option<&str> {
    let (shown, hash) = text.rsplit_once('-')?;
    (!shown.is_empty() && is_hash(hash)).then_some(hash)
}

fn is_hash(text: &str) -> bool {
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.len() == HASH_DIGITS && text.bytes().all(digit) && !text.bytes().all(|b| b.is_ascii_digit())
}

impl fmt::Display for BranchHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn project(name: &str) -> ProjectName {
        name.parse().unwrap()
    }

    fn label(branch: &str) -> String {
        branch_label(&project("site"), &BranchName::parse(branch).unwrap())
    }

    #[test]
    fn a_branch_that_is_a_label_stands_as_it_is_and_any_other_with_its_hash() {
        for plain in ["main", "2fast", "a--b", "release-20261128", "fix-1a2b3c4", "1a2b3c4d"] {
            assert_eq!(label(plain), format!("site--{plain}"));
        }
        // `printf '%s' feature/x | sha256sum` begins with these.
        for (branch, shown) in [
            ("feature/x", "site--feature-x-217d2bf5"),
            ("Main", "site--main-eb814be3"),
            ("release-2.0", "site--release-2-0-74ed3671"),
            ("ä", "site--branch-33e6d73f"),
            ("fix-1a2b3c4d", "site--fix-1a2b3c4d-5075885e"),
        ] {
            assert_eq!(label(branch), shown);
        }
        let (fits, long) = ("b".repeat(57), "b".repeat(58));
        assert_eq!(label(&fits), format!("site--{fits}"));
        assert_eq!(label(&long).len(), 63);
        assert!(label(&long).starts_with("site--bbbb"));
    }

    #[test]
    fn labels_are_told_apart_and_what_names_nothing_is_not_one() {
        let id = "dpl_01h455vb4pex5vsknk084sn02q";
        assert_eq!(Site::parse(id), Some(Site::Deployment(id.parse().unwrap())));
        assert_eq!(Site::parse("my-site"), Some(Site::Project(project("my-site"))));
        let branch = BranchName::parse("a--b").unwrap();
        assert_eq!(Site::parse("site--a--b"), Some(Site::Branch(project("site"), branch)));
        let hash = BranchHash("217d2bf5".to_owned());
        assert_eq!(Site::parse("site--feature-x-217d2bf5"), Some(Site::Hashed(project("site"), hash)));
        for none in
            ["", "-", "--", "site--", "--main", "site---x", "site--x-", "Site--x", "site--a/b", "site--X"]
        {
            assert_eq!(Site::parse(none), None, "{none:?}");
        }
        assert_eq!(Site::parse(&format!("site--{}", "b".repeat(58))), None, "no label is as long");
    }

    fn projects() -> impl Strategy<Value = ProjectName> {
        "[a-z0-9](-?[a-z0-9]){0,19}".prop_filter_map("reserved", |text| text.parse().ok())
    }

    fn branches() -> impl Strategy<Value = BranchName> {
        let text =
            prop_oneof!["[a-z0-9-]{1,70}", "[a-z]{1,5}-[0-9a-f]{8}", "[A-Za-z0-9/._-]{1,80}", "\\PC{1,60}",];
        text.prop_filter_map("no branch", |text| BranchName::parse(&text).ok())
    }

    proptest! {
        #[test]
        fn every_branch_has_a_label_that_leads_back_to_it(project in projects(), branch in branches()) {
            let label = branch_label(&project, &branch);
            prop_assert!(label.len() <= LABEL_LIMIT && is_label(&label), "{}", label);
            match Site::parse(&label) {
                Some(Site::Branch(of, found)) => prop_assert_eq!((of, found), (project, branch)),
                Some(Site::Hashed(of, hash)) => {
                    prop_assert_eq!((of, hash), (project, BranchHash::of(&branch)));
                }
                other => prop_assert!(false, "{} is {:?}", label, other),
            }
        }

        #[test]
        fn two_branches_have_one_label_only_with_one_hash(
            project in projects(), one in branches(), other in branches()
        ) {
            let same = branch_label(&project, &one) == branch_label(&project, &other);
            prop_assert!(!same || BranchHash::of(&one) == BranchHash::of(&other));
        }

        #[test]
        fn no_branch_can_take_the_label_of_another(project in projects(), branch in branches()) {
            let label = branch_label(&project, &branch);
            let taken = BranchName::parse(label.split_once(BETWEEN).unwrap().1).unwrap();
            prop_assert!(taken == branch || branch_label(&project, &taken) != label);
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = Site::parse(&text);
        }
    }
}
