//! The HookService: projects, hooks, tokens, limits, deployments and their dispatch.
