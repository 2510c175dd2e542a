//! The variables that a build's steps see.

use grapnel_domain::{build::BuildSpec, event::CacheOutcome};

/// Where the workspace is mounted.
pub const WORKSPACE: &str = "/workspace";
/// Where the cache is mounted.
pub const CACHE: &str = "/cache";
/// Where the body of the trigger is mounted.
pub const BODY: &str = "/run/grapnel/body";

/// The most bytes of a body that are given as a variable too.
const BODY_AS_VARIABLE: usize = 32 * 1024;

/// Where the operator's bundle of authorities is mounted.
pub const CA_BUNDLE: &str = "/run/grapnel/ca-bundle.pem";
/// The home of the builder's user: memory, gone with the sandbox.
pub const HOME: &str = "/home/builder";

/// Where tools keep their own caches, below [`CACHE`].
const TOOL_CACHES: [(&str, &str); 9] = [
    ("npm_config_cache", "npm"),
    // Where pnpm keeps its store, among others.
    ("XDG_DATA_HOME", "data"),
    ("YARN_CACHE_FOLDER", "yarn"),
    // Where the Yarn of today keeps everything; the one above is Yarn 1's.
    ("YARN_GLOBAL_FOLDER", "yarn-modern"),
    ("BUN_INSTALL_CACHE_DIR", "bun"),
    ("PIP_CACHE_DIR", "pip"),
    ("UV_CACHE_DIR", "uv"),
    ("XDG_CACHE_HOME", "xdg"),
    ("GOMODCACHE", "go"),
];

/// Variables by which programs find a bundle of authorities.
const CA_VARIABLES: [&str; 5] =
    ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO"];

/// Tells whether a variable is the same in every build of a project, as long as nobody changes its settings. The others
/// say what asked for the build, and what of it is found again.
pub fn lasts(name: &str) -> bool {
    !["DEPLOY_", "INCOMING_", "VERCEL_GIT_"].iter().any(|of_one_build| name.starts_with(of_one_build))
}

/// Returns the variables of a build's steps.
pub fn variables(spec: &BuildSpec, cache: CacheOutcome, ca_bundle: bool) -> Vec<(String, String)> {
    let flag = |on: bool| if on { "production" } else { "preview" };
    let mut variables: Vec<(String, String)> = [
        ("HOME", HOME),
        ("USER", "builder"),
        ("LANG", "C.UTF-8"),
        ("CI", "1"),
        ("GRAPNEL", "1"),
        ("DEPLOY_HOOK_REF", spec.branch.as_str()),
        ("DEPLOY_CACHE", cache.as_str()),
        // Existing build scripts look for these.
        ("VERCEL", "1"),
        ("VERCEL_ENV", flag(spec.production)),
        ("VERCEL_GIT_COMMIT_SHA", &spec.commit),
        ("VERCEL_GIT_COMMIT_REF", spec.branch.as_str()),
        ("VERCEL_GIT_COMMIT_MESSAGE", &spec.commit_message),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    variables.push(("DEPLOY_TRIGGER_COUNT".to_owned(), spec.trigger_count.to_string()));
    if !spec.title.is_empty() {
        variables.push(("DEPLOY_HOOK_TITLE".to_owned(), spec.title.clone()));
        variables.push(("INCOMING_HOOK_TITLE".to_owned(), spec.title.clone()));
    }
    if !spec.body.is_empty() {
        variables.push(("DEPLOY_HOOK_BODY_FILE".to_owned(), BODY.to_owned()));
        // A variable holds neither what is no text nor a NUL.
        if let Ok(text) = std::str::from_utf8(&spec.body)
            && text.len() <= BODY_AS_VARIABLE
            && !text.contains('\0')
        {
            variables.push(("INCOMING_HOOK_BODY".to_owned(), text.to_owned()));
        }
    }
    if let Some(hook) = &spec.hook {
        variables.push(("DEPLOY_HOOK_ID".to_owned(), hook.id.to_string()));
        variables.push(("DEPLOY_HOOK_NAME".to_owned(), hook.name.to_string()));
    }
    variables.extend(TOOL_CACHES.map(|(name, directory)| (name.to_owned(), format!("{CACHE}/{directory}"))));
    if ca_bundle {
        variables.extend(CA_VARIABLES.map(|name| (name.to_owned(), CA_BUNDLE.to_owned())));
    }
    // Names that belong to Grapnel were refused when they were set; what is left to projects to say, such as `CI`, they say.
    variables.retain(|(name, _)| spec.variables.iter().all(|own| own.name.as_str() != name));
    let own = spec.variables.iter().map(|own| (own.name.to_string(), own.value.expose().to_owned()));
    variables.extend(own);
    variables
}
