//! The HTTP side of Grapnel: hook URLs, deployments, sites.
