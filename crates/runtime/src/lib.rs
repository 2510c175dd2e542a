//! What every Grapnel process needs: settings, telemetry, clock, shutdown, backoff, channels.
