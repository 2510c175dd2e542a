//! End-to-end tests of Grapnel over real processes, git, Docker and HTTP.
